"""What a user hands over to be called: callbacks, losses, functions, good and bad.

What does not belong here: the calls that take them (operations.py).
"""

import warnings

import numpy as np


class Own(Exception):
    """What the user's own functions raise."""


class Callback:
    """A user's callback that does one thing at its second call."""

    KINDS = ("note", "stop", "raise", "write", "spoil", "predict", "interrupt")

    def __init__(self, kind, steps):
        self.kind, self.steps, self.calls = kind, steps, 0

    def __call__(self, event):
        self.calls += 1
        net = event.network
        if self.kind == "predict":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                net.predict(np.zeros((1, net.sizes[0])))
            repr(event.history)
        if self.calls != 2:
            return None
        if self.kind == "raise":
            raise Own("callback")
        if self.kind == "interrupt":
            raise KeyboardInterrupt
        if self.kind == "write":
            net.parameters *= 0.5
        if self.kind == "spoil":
            net.parameters[0] = np.nan
        return self.kind == "stop"


class OwnLoss:
    """A user's loss, good or bad."""

    KINDS = ("good", "good", "good", "raise", "nan", "inf", "complex", "shape", "text", "one",
             "huge", "writes")  # fmt: skip

    def __init__(self, kind):
        self.kind = kind

    def __call__(self, a, y, w):
        if self.kind == "raise":
            raise Own("loss")
        if self.kind == "text":
            return "abc"
        if self.kind == "one":
            return 1.0
        with np.errstate(all="ignore"):  # a network that is about to diverge
            slope = np.ones_like(a) * w[:, None] / max(w.sum(), 1e-30)
            value = float((a.sum(axis=1) * w).sum() / max(w.sum(), 1e-30))
        if self.kind == "writes":
            for array in (a, y, w):
                if array.flags.writeable:
                    array[...] = 0
        if self.kind == "nan":
            value = float("nan")
        if self.kind == "huge":
            value = 10**400
        if self.kind == "inf":
            slope = slope * np.inf
        if self.kind == "complex":
            slope = slope + 1j
        if self.kind == "shape":
            slope = slope[:, :1].ravel()
        return value, slope


def own(kind, good):
    """A user's function: good, raising, or answering nonsense."""

    def function(*args):
        if kind == "raise":
            raise Own("function")
        return good(*args) if kind == "good" else kind

    return function


ANSWERS = ("good", "good", "good", "raise", None, "abc", 1j, [1.0], np.nan, np.inf, -1.0, 10**400)
