from Cython.Build import cythonize
from setuptools import Extension, setup

setup(name="consumer", ext_modules=cythonize([Extension("consumer", ["consumer.pyx"])]))
