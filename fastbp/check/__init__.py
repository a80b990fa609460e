"""Checks: is a gradient what its function says, and if not, which equation is wrong?

What belongs here: routines that ask a network through its public methods only, so that what they
find does not rest on how it computes, and that take anybody's functions. What does not: the
engine, training.

`output_error` (terms/) and `recurrence` show BP1 and BP2 term by term, `structure` shows which
a_k depend on which z_j, `gradients` checks a network, `gradient` (gradients/) anybody's function.
"""

from fastbp.check.gradients.function import FunctionCheck, UncheckableError, gradient
from fastbp.check.gradients.network import GradientCheck, assert_gradients, gradients
from fastbp.check.terms.ladder import OutputError, output_error
from fastbp.check.terms.recurrence import Recurrence, recurrence
from fastbp.check.terms.structure import Structure, structure

__all__ = [
    "FunctionCheck",
    "GradientCheck",
    "OutputError",
    "Recurrence",
    "Structure",
    "UncheckableError",
    "assert_gradients",
    "gradient",
    "gradients",
    "output_error",
    "recurrence",
    "structure",
]
