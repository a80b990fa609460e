# %% [markdown]
# # The book's first network
#
# Chapter 1 of M. Nielsen, *Neural Networks and Deep Learning* (2015): 784-30-10 sigmoid neurons,
# the quadratic cost, stochastic gradient descent with batches of 10 and learning rate 3. What
# belongs here: that run as a user would write it. What does not: the book's other runs
# (bench/book.py).

# %%
import os
import sys
from pathlib import Path

import fastbp

SHORT = bool(os.environ.get("FASTBP_SHORT"))  # a few seconds, as CI runs it

# %% [markdown]
# MNIST as the book splits it: 50,000 images to train on, 10,000 to test with. It is fetched once
# and kept in the cache folder. Where it cannot be had, the 8 × 8 digits that fastbp carries do.

# %%
here = Path(__file__).parent if "__file__" in globals() else Path.cwd()
sys.path.insert(0, str(here.parent))
import mnist  # noqa: E402

try:
    data = mnist.load()
    (X, Y), test = data.training, data.test
except mnist.NoData as reason:
    print(f"{reason}\nThe digits of fastbp.datasets instead.")
    digits = fastbp.datasets.load_digits()
    X, Y, test = digits.X[:1500], digits.Y[:1500], (digits.X[1500:], digits.Y[1500:])
if SHORT:
    X, Y = X[:5000], Y[:5000]

# %%
net = fastbp.Network([X.shape[1], 30, 10], output="sigmoid", loss="quadratic", init="large", seed=1)
history = net.fit(
    X,
    Y,
    epochs=30,
    batch_size=10,
    optimizer=fastbp.SGD(3.0),
    validation=tuple(test),
    seed=0,
)
accuracy = history["validation_accuracy"]
print(
    f"{history.seconds:.2f} s of training; correct: {accuracy[0]:.2%}, at best {accuracy.max():.2%}"
)
history.plot().figure.savefig("first_network.png")

# %% [markdown]
# What the network makes of one image: ten activations, of which the largest is its answer.

# %%
print("label", test[1][0], "outputs", net.predict(test[0][:1]).round(2))
