"""A network's gradients (BP1 to BP4) against its loss: `gradients`, `assert_gradients`.

What belongs here: what is asked, and the result. What does not: the two ways of checking
(elements.py, taylor.py), what is wrong in words (diagnosis.py), other people's functions
(function.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import inputs
from fastbp.check import judging
from fastbp.check.gradients import adjoint, diagnosis, taylor
from fastbp.check.gradients.claim import Claim, Given, claimed
from fastbp.check.gradients.elements import Elements
from fastbp.check.gradients.taylor import DirectionCheck
from fastbp.check.judging import MOST_POINTS, Points, TensorCheck
from fastbp.check.numeric.budget import Budget
from fastbp.check.report import Result, Table
from fastbp.check.subject import (
    FROZEN,
    Differentiable,
    has_own_loss,
    rows_in_time,
    subject,
    twin_of,
)
from fastbp.dropout import Dropout
from fastbp.functions import one_of
from fastbp.inputs import ArrayLike, Rows
from fastbp.network import Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODES = ("full", "fast")
METHODS = ("differences", "mpmath")
TOLERANCE = 1e-6
LOSSES = {"full": 2000, "fast": 500}  # that a time limit has to suffice for


@dataclass(frozen=True, eq=False)
class GradientCheck(Result):
    """What `gradients` found: whether a network's gradients are right, and where they are not.

    `plot` draws gradient against slopes, or the Taylor remainders.

    Attributes
    ----------
    verdict : str
        Begins with "pass", "FAIL" or "inconclusive".
    findings : tuple of str
        What is wrong, in words; counts of kinks.
    mode : "full" or "fast"
        As it was asked for.
    tensors : tuple of TensorCheck
        Full mode: W1, b1, ..., delta1, ..., x, each with its worst element.
    directions : tuple of DirectionCheck
        Fast mode: the slope of the Taylor remainder along a random direction of each tensor.
    identity : float or None
        abs(<Jv, u> - <v, J^T u>), relative, of `jvp` and `vjp`.
    n_checked, n_parameters : int
        Parameters that were looked at, and how many there are.
    kinks, inconclusive : int
        Elements on a kink between whose slopes the analytic value lies; elements that differences
        cannot resolve.
    tolerance : float
        As it was asked for.
    points : Points
        Full mode: every value that was checked, for plots.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network([2, 3, 2], seed=0)
    >>> found = fastbp.check.gradients(net, [[0.5, -1.0]], [1])
    >>> found.ok, found.n_checked, found.tensors[0].name
    (True, 17, 'W1')
    """

    verdict: str
    findings: tuple[str, ...]
    mode: str
    tensors: tuple[TensorCheck, ...]
    directions: tuple[DirectionCheck, ...]
    identity: float | None
    n_checked: int
    n_parameters: int
    kinks: int
    inconclusive: int
    tolerance: float
    points: Points = field(repr=False)

    title = "gradient check"

    def tables(self) -> list[Table]:
        """Give the numbers as tables: tensors, or directions.

        Returns
        -------
        list of Table
            One, a row a tensor: its worst element, or its slope.
        """
        if self.mode == "fast":
            return [taylor.table(self.directions)]
        return [judging.table(self.tensors)]

    def to_dict(self) -> dict[str, Any]:
        """Give everything in the types of JSON; None for a number that is NaN or infinite.

        Returns
        -------
        dict
            "ok", "verdict" and every attribute, by name; `points` only where they are not too many.
        """
        found = super().to_dict()
        if len(self.points.index) > MOST_POINTS:
            del found["points"]
        return found

    def plot(self, ax: Axes | None = None) -> Axes:
        from fastbp.check import pictures

        if self.mode == "fast":
            return pictures.remainders(self.directions, ax)
        return pictures.points(self.points, [t.name for t in self.tensors], ax)


def gradients(
    net: Network | Differentiable,
    X: Rows,
    Y: ArrayLike,
    *,
    gradient: Given = None,
    mode: str = "full",
    sample_weight: ArrayLike | None = None,
    l2: float = 0.0,
    l1: float = 0.0,
    decays: Mapping[str, float] | None = None,
    dropout: Dropout | None = None,
    ignore_missing: bool = False,
    tolerance: float = TOLERANCE,
    max_parameters: int = 5000,
    method: str = "differences",
    time_limit: float | None = None,
    seed: int = 0,
) -> GradientCheck:
    """Hold a network's gradients against its loss.

    Parameters
    ----------
    net : Network
        Or any object with `parameters` (flat, writable), `loss(X, Y)` and `gradient(X, Y)`; with
        `weights`, `biases` and `architecture` as `Network` has them it is told what is wrong.
    X, Y : as in `Network.loss`
        A few rows will do.
    gradient : callable (X, Y) -> array, array or list of arrays, optional
        A gradient of your own instead of `net.gradient`: flat, or W1, b1, W2, b2, ...
    mode : "full" or "fast"
        full: each element with the error bound of its numeric value. fast: along random directions
        only; an error in one element of many may pass.
    sample_weight, l2, l1, decays : as in `Network.loss`
        The loss that the gradient is of.
    dropout, ignore_missing : as in `Network.loss`
        With one of them a float32 network is checked through its float64 twin.
    tolerance : float
        Relative difference that is let pass, beside the bounds. Full mode.
    max_parameters : int
        Of more, an evenly spaced selection of each tensor is checked. Full mode.
    method : "differences" or "mpmath"
        Where numeric values come from: differences of the loss in float64, or the network
        evaluated in 50 digits (slow; at most some hundred parameters; needs mpmath).
    time_limit : float, optional
        Seconds. What there is time for is checked: a random share of the rows (of the network's
        own gradient) and of the elements; verdict and findings say which share. One element of
        each tensor, or all directions, may take as long again; what has been begun is finished.
    seed : int
        Of the random directions and shares.

    Returns
    -------
    GradientCheck
        `.ok` is False where a value is wrong; findings say which equation is.

    Raises
    ------
    ValueError, TypeError
        For what cannot be checked: a loss that is not finite or not the same each time, gradients
        of a wrong shape.

    Notes
    -----
    Differences (central, extrapolated after Richardson and Ridders) are taken in float64; a float32
    gradient may differ by n eps, worked out layer by layer. An element fails only where it differs
    by more than tolerance, both bounds and rounding allow. On a kink (relu at 0) the analytic value
    has to lie between the one-sided slopes of every sample.

    Examples
    --------
    >>> import fastbp
    >>> digits = fastbp.datasets.load_digits()
    >>> net = fastbp.Network([64, 30, 10])
    >>> fastbp.check.gradients(net, digits.X[:5], digits.Y[:5]).ok
    True
    """
    budget = Budget(None if time_limit is None else inputs.as_positive(time_limit, "time_limit"))
    mode, method = one_of("mode", mode, MODES), one_of("method", method, METHODS)
    max_parameters = inputs.as_count(max_parameters, "max_parameters")
    tolerance = inputs.as_penalty(tolerance, "tolerance")
    seed = inputs.as_count(seed, "seed", least=0)
    given = {
        "sample_weight": sample_weight,
        "l2": inputs.as_penalty(l2, "l2") or None,
        "l1": inputs.as_penalty(l1, "l1") or None,
        "decays": decays,
        "dropout": dropout,
        "ignore_missing": inputs.as_flag(ignore_missing, "ignore_missing") or None,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if isinstance(net, Network) and options.keys() & FROZEN and net.dtype != np.float64:
        net = twin_of(net)
    n_rows = 0
    if budget.limit is not None and gradient is None and has_own_loss(net, options):
        X, Y, options, n_rows = rows_in_time(net, X, Y, options, budget, LOSSES[mode], seed)
    checked = subject(net, X, Y, options)
    claim = claimed(net, checked, gradient, X, Y, options)
    with np.errstate(all="ignore"):  # what overflows is unknown, and counted as such
        if mode == "fast":
            found, unseen = _fast(claim, tolerance, seed, budget)
        else:
            found, unseen = _full(claim, tolerance, max_parameters, method, seed, budget)
    return _with_shares(found, unseen, budget, len(checked.shares), n_rows)


def _fast(
    claim: Claim, tolerance: float, seed: int, budget: Budget
) -> tuple[GradientCheck, list[str]]:
    directions, unseen = taylor.directions(claim, seed, budget)
    error, transposed = adjoint.identity(claim, seed)
    wrong = [*claim.notes, *transposed]
    verdict = taylor.verdict_of(directions)
    if wrong and not verdict.startswith("FAIL"):
        verdict = f"FAIL: {wrong[0]}"
    found = GradientCheck(
        verdict=verdict,
        findings=(*claim.notes, *taylor.findings(directions), *transposed),
        mode="fast",
        tensors=(),
        directions=tuple(directions),
        identity=error,
        n_checked=sum(t.size for t in claim.subject.tensors if t.name not in unseen),
        n_parameters=claim.gradient.size,
        kinks=0,
        inconclusive=sum(d.status == "inconclusive" for d in directions),
        tolerance=tolerance,
        points=Points(*[np.empty(0)] * 6),
    )
    return found, unseen


def _full(
    claim: Claim,
    tolerance: float,
    max_parameters: int,
    method: str,
    seed: int,
    budget: Budget,
) -> tuple[GradientCheck, list[str]]:
    elements = Elements(claim, tolerance, max_parameters, method, budget, seed)
    error, transposed = adjoint.identity(claim, seed)
    findings = list(claim.notes)
    beside = "values (parameters, delta of every layer, inputs)"
    what = beside if elements.whole else "parameters"
    verdict = judging.verdict_of(elements.tensors, what)
    if verdict.startswith("FAIL"):
        findings += diagnosis.of(claim, elements)
    findings += transposed
    if findings and not verdict.startswith("FAIL"):
        verdict = f"FAIL: {findings[0]}"
    kinks = sum(t.kinks for t in elements.tensors)
    if kinks:
        findings.append(
            f"{kinks} elements lie on a kink (relu at 0 and its kin); there the analytic value "
            "lies between the one-sided slopes."
        )
    if elements.ambiguous:
        findings.append(
            f"{elements.ambiguous} elements lie where several kinks meet in one sample: values "
            "alone cannot tell which slopes are allowed. Move the parameters a little."
        )
    if elements.unrepeated:
        findings.append(
            f"{elements.unrepeated} elements differ at first sight; there was no time for the "
            "second look that would tell whether they are wrong."
        )
    found = GradientCheck(
        verdict=verdict,
        findings=tuple(findings),
        mode="full",
        tensors=tuple(elements.tensors),
        directions=(),
        identity=error,
        n_checked=elements.n_checked,
        n_parameters=claim.gradient.size,
        kinks=kinks,
        inconclusive=sum(t.inconclusive for t in elements.tensors),
        tolerance=tolerance,
        points=elements.points(),
    )
    return found, elements.unseen


def _with_shares(
    found: GradientCheck, unseen: list[str], budget: Budget, rows: int, n_rows: int
) -> GradientCheck:
    """The same, telling what was left out: in the verdict where a time limit did it."""
    shares = [
        f"{some:,} of {of:,} {what}"
        for some, of, what in (
            (found.n_checked, found.n_parameters, "parameters"),
            (rows, n_rows, "rows"),
        )
        if some < of
    ]
    if not shares and not unseen:
        return found
    share, verdict = " and ".join(shares), found.verdict
    remark = f"Checked {share or 'all parameters'}"
    if budget.limit is None:
        remark += f"; none of {', '.join(unseen)}" if unseen else ""
        return replace(found, findings=(*found.findings, f"{remark}."))
    if unseen and not verdict.startswith("FAIL"):
        rest = "; what was checked agrees" if found.n_checked and verdict[0] == "p" else ""
        names = ", ".join(unseen)
        verdict = f"inconclusive: none of {names} could be checked in {budget.limit:g} s{rest}"
    elif shares:
        verdict += f"; {share} were looked at"
    findings = (*found.findings, f"{remark}, drawn at random, in {budget.limit:g} s.")
    return replace(found, verdict=verdict, findings=findings)


def assert_gradients(*args: object, **options: object) -> None:
    """Raise AssertionError unless `gradients` (of a network) or `gradient` (of a function) passes.

    For tests. Inconclusive is not passed.

    Parameters
    ----------
    *args : net, X, Y; or f, grad, x
        As `gradients` takes them, or `gradient` where the first is a function.
    **options : as in `gradients` or `gradient`
        By name.

    Raises
    ------
    AssertionError
        The check has not passed; the message is all that it found.
    ValueError, TypeError
        What was given cannot be checked.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> fastbp.check.assert_gradients(lambda x: (x**2).sum(), lambda x: 2 * x, np.arange(3.0))
    """
    from fastbp.check.gradients.function import gradient

    is_function = bool(args) and callable(args[0]) and not hasattr(args[0], "parameters")
    check: Callable[..., Result] = gradient if is_function else gradients
    found = check(*args, **options)
    if not found.verdict.startswith("pass"):
        raise AssertionError(str(found))
