"""Faults made on purpose, by name: each must end the process with a sanitizer's report.

What belongs here: calls of the engine past its checks, one for each kind of report.
"""

import sys
import threading

import numpy as np

import fastbp

net = fastbp.Network([8, 40, 2], dtype="float64", seed=0)
X, Y = np.ones((600, 8)), np.zeros(600, np.intp)


def overflow():
    """Parameters that end too early."""
    net._doors.predict(net._compiled, net.parameters[:-1].copy(), X, np.empty((600, 2)))


def alignment():
    """Numbers that begin half a number off."""
    net._doors.is_finite(np.zeros(84, np.uint8)[4:].view(np.float64))


def race():
    """A thread looks at what another writes."""
    out = np.zeros(net.n_parameters)
    other = threading.Thread(target=lambda: [net.gradient(X, Y, out=out) for _ in range(300)])
    other.start()
    while other.is_alive():
        net._doors.is_finite(out)
    other.join()


globals()[sys.argv[1]]()
