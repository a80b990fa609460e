"""The results of the checks for one sample, and the story told of them: `explain`.

What belongs here: what is asked of the checks, and the object that is returned. What does not: what
is told and in which order (narrative.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.check.gradients.network import gradients
from fastbp.check.report import ok_of
from fastbp.check.terms.ladder import output_error
from fastbp.check.terms.recurrence import recurrence
from fastbp.check.terms.structure import structure
from fastbp.explain.blocks import SHOWN, Page, Section
from fastbp.explain.facts import Case, largest, shows_the_sum
from fastbp.explain.narrative import Teller
from fastbp.functions import shown
from fastbp.inputs import ArrayLike
from fastbp.network import Network, as_network

Array = np.ndarray

PROBED = 10  # neurons of the activation whose dependences are probed
CHECKED = 2000  # parameters whose gradients are checked, an even selection of more


@dataclass(frozen=True, eq=False)
class Explanation:
    """The derivation on the numbers of one sample; `explain` makes it.

    Attributes
    ----------
    cases : tuple of Case
        One for each network, with the results of the checks.
    x : ndarray (n_0,)
        The sample.
    neuron : int
        Of the last layer, counted from 0; in texts from 1.
    neurons : tuple of int
        Those that the page shows, counted from 0.
    labels : tuple of str
        Names of the outputs; empty where they have none.
    source : str
        Where the sample is from, as it was told.
    sections : tuple of Section
        What is told, part by part.
    verdict : str
        Begins with "FAIL" where a check fails.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.explain import explain
    >>> found = explain(fastbp.Network([2, 3, 2], seed=0), [0.5, -1.0], 1)
    >>> found.ok, found.neurons, len(found.cases)
    (True, (0, 1), 1)
    """

    cases: tuple[Case, ...]
    x: Array
    neuron: int
    neurons: tuple[int, ...]
    labels: tuple[str, ...]
    source: str
    sections: tuple[Section, ...]
    verdict: str

    @property
    def ok(self) -> bool | None:
        """Whether every number agrees; None where that was not found out."""
        return ok_of(self.verdict)

    def __str__(self) -> str:
        from fastbp.explain import terminal

        return terminal.text(self.sections)

    @property
    def _page(self) -> Page:
        names = self.labels if len(self.labels) == len(self.cases[0].output_error.z) else ()
        return Page(self.sections, self.verdict, self.neuron, self.neurons, names)

    def to_html(self) -> str:
        """Make a page that needs nothing else: no network, fonts, scripts or images.

        Returns
        -------
        str
            For a file; it shows in any browser, offline.
        """
        from fastbp.explain import page

        return page.html(self._page)

    def _repr_html_(self) -> str:
        from fastbp.explain import page

        return page.frame(self._page)

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers in the types of JSON; neurons counted from 1 as in the texts.

        Returns
        -------
        dict
            "ok", "verdict" and, by network, what each check found.
        """
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "source": self.source,
            "x": self.x.tolist(),
            "labels": list(self.labels),
            "neuron": self.neuron + 1,
            "networks": [
                {
                    "name": case.name,
                    "architecture": case.net.architecture,
                    "output_error": case.output_error.to_dict(),
                    "structure": case.structure.to_dict(),
                    "recurrence": case.recurrence.to_dict(),
                    "gradients": case.gradients.to_dict(),
                }
                for case in self.cases
            ],
        }


def explain(
    nets: Network | Sequence[Network],
    x: ArrayLike,
    y: ArrayLike,
    *,
    neuron: int | None = None,
    labels: Sequence[str] = (),
    image: tuple[int, int] | None = None,
    source: str = "one sample",
    note: str = "",
) -> Explanation:
    """Walk through the derivation of backpropagation on the numbers of one sample.

    Why a sum over k appears in ``delta_j = sum_k dC/da_k da_k/dz_j`` and when it collapses, then
    the recurrence and the gradients of weights and biases, each with every term.

    Parameters
    ----------
    nets : Network or sequence of Network
        With the same sizes. The first is the one that the recurrence is shown on.
    x : array_like (n_0,)
        The sample's inputs.
    y : class index or target
        Its class or target, as in `Network.loss`.
    neuron : int, optional
        Of the last layer, counted from 1. Default: that with the largest abs(delta) in the first
        network, of those where every network that needs its sum over k shows it (not the true class
        of softmax with cross_entropy, where the term k = j happens to be all).
    labels : sequence of str
        Names of the outputs.
    image : (height, width), optional
        Of x, values in [0, 1], to draw it.
    source : str
        What the sample is, in words.
    note : str
        A remark on sample and networks: where they come from.

    Returns
    -------
    Explanation
        Printed it is a text, shown in a notebook or by `to_html` a page.

    Raises
    ------
    ValueError
        A sample that does not fit, a neuron that there is not, networks of different sizes.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.explain import explain
    >>> net = fastbp.Network([2, 3, 3], seed=1)
    >>> found = explain(net, [0.5, -1.0], 2, labels=["ant", "bee", "cat"])
    >>> found.ok, found.neuron + 1
    (True, 2)
    >>> [section.name for section in found.sections]
    ['question', 'numbers', 'ladder', 'structure', 'recurrence', 'weights', 'summary']
    """
    all_nets = _networks(nets)
    labels, image = _labels(labels), _image(image, x)
    for name, text in (("source", source), ("note", note)):
        if not isinstance(text, str):
            raise TypeError(f"{name}: expected a str; got {shown(text)}")
    neuron = None if neuron is None else inputs.as_count(neuron, "neuron")
    cases = tuple(_case(net, x, y) for net in all_nets)
    n_z = len(cases[0].output_error.z)
    for case in cases[1:]:
        first, other = (net.architecture["sizes"] for net in (cases[0].net, case.net))
        if first != other or len(case.output_error.z) != n_z:
            raise ValueError(f"nets: expected networks of the same sizes; got {first} and {other}")
    delta = np.abs(cases[0].output_error.total)
    if neuron is None:
        size = np.where(np.isfinite(delta), delta, -1.0)
        telling = np.all([shows_the_sum(case.output_error) for case in cases], axis=0)
        j = int(np.argmax(np.where(telling | ~telling.any(), size, -2.0)))
    elif neuron <= n_z:
        j = neuron - 1
    else:
        raise ValueError(f"neuron: expected one of 1..{n_z}; got {neuron}")
    n_a = len(cases[0].output_error.a)
    if labels and len(labels) != n_a:
        raise ValueError(f"labels: expected {n_a} names, one for each output; got {len(labels)}")
    pixels = np.asarray(x, np.float64).reshape(-1)
    teller = Teller(
        cases,
        pixels,
        j,
        largest(delta, SHOWN, j),
        labels,
        image,
        source,
        note,
        _one_row(y, all_nets[0].dtype),
    )
    return Explanation(
        cases,
        pixels,
        j,
        teller.neurons,
        teller.labels,
        source,
        teller.sections(),
        teller.verdict(),
    )


def _networks(nets: Any) -> list[Network]:
    if isinstance(nets, Network):
        return [nets]
    if not isinstance(nets, Sequence):
        raise TypeError(f"nets: expected a Network or a list of them; got {shown(nets)}")
    if not nets:
        raise ValueError("nets: expected at least one network; got none")
    return [as_network(net, f"nets[{i}]") for i, net in enumerate(nets)]


def _labels(labels: Any) -> tuple[str, ...]:
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Sequence):
        raise TypeError(f"labels: expected a list of names; got {shown(labels)}")
    return tuple(map(str, labels))


def _image(image: Any, x: Any) -> tuple[int, int] | None:
    """Height and width that make up x."""
    if image is None:
        return None
    if not isinstance(image, Sequence) or len(image) != 2:
        raise TypeError(f"image: expected (height, width) or None; got {shown(image)}")
    height, width = (inputs.as_count(n, f"image[{i}]") for i, n in enumerate(image))
    if height * width != (n := inputs.as_array(x, "x").size):
        raise ValueError(f"image: expected {n} pixels, those of x; got {height} x {width}")
    return height, width


def _case(net: Network, x: Any, y: Any) -> Case:
    error = output_error(net, x, y)
    about = net.architecture
    X = inputs.as_array(x, "x").reshape(1, -1)
    with np.errstate(over="ignore"):  # told here
        zs, _ = net.feedforward(X)
    for l, z in enumerate(zs, 1):
        if not np.isfinite(z).all():
            raise ValueError(
                f"x: expected a sample whose weighted inputs {net.dtype} holds; z^{l} is not finite"
            )
    return Case(
        f"{about['output']} + {about['loss']}",
        net,
        error,
        recurrence(net, x, y),
        gradients(net, X, _one_row(y, net.dtype), max_parameters=CHECKED),
        structure(about["output"], min(len(error.a), PROBED)),
    )


def _one_row(y: Any, dtype: np.dtype[Any]) -> Array:
    """The target as a batch of one, rounded as the rest of the case has it."""
    array = inputs.as_array(y, "y")
    array = array.astype(dtype) if array.dtype.kind == "f" else array
    return array.reshape(1) if array.size == 1 else array.reshape(1, -1)
