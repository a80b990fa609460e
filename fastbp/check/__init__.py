"""Checks: is a gradient what its function says?

What belongs here: routines that ask a network through its public methods only, so that what they
find does not rest on how it computes. What does not: the engine, training.
"""

from fastbp.check.gradients import GradientCheck, gradients

__all__ = ["GradientCheck", "gradients"]
