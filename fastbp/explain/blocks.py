"""What an explanation is made of: texts, equations, tables, pictures, sums written out.

What belongs here: the kinds of things that terminal.py and page.py know how to show. What does not:
what they say (narrative.py). In texts, formulas stand between dollars.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastbp.check.report import Table

Array = np.ndarray

SHOWN = 24  # neurons, and terms of a sum, that are shown; of more the largest


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Equation:
    formula: str
    note: str = ""


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Numbers:
    """A table; `marked` is the place of the neuron that is looked at."""

    table: Table
    marked: int | None = None
    neurons: tuple[int, ...] = ()  # of each row, where rows are neurons of the last layer


@dataclass(frozen=True)
class Picture:
    """Pixels in [0, 1], (height, width)."""

    pixels: Array
    caption: str


@dataclass(frozen=True)
class Paths:
    """The ways from z_j to C by the a_k, from top to bottom; one without a name stands for many."""

    title: str
    names: tuple[str, ...]
    reached: tuple[bool, ...]  # whether a_k changes with z_j
    text: str


@dataclass(frozen=True)
class Drawings:
    """Side by side."""

    paths: tuple[Paths, ...]


@dataclass(frozen=True)
class Sum:
    """A sum over k, written out: `header` names the factors and their product."""

    header: tuple[str, ...]
    indices: tuple[int, ...]  # the k that are shown, from 0
    factors: Array  # one row for each of them
    terms: Array
    rest: float  # the sum of the terms that are not shown
    n_rest: int
    total: float


@dataclass(frozen=True)
class Rung:
    label: str
    formula: str
    value: str  # in words where there is no number
    number: float | None
    note: str = ""
    sum: Sum | None = None


@dataclass(frozen=True)
class Ladder:
    """The rungs of one neuron of one network."""

    title: str
    j: int
    rungs: tuple[Rung, ...]


@dataclass(frozen=True)
class Ladders:
    """The same for each neuron that is shown; a terminal shows that of the chosen neuron."""

    ladders: tuple[Ladder, ...]
    chosen: int


@dataclass(frozen=True)
class Steps:
    """Rungs of anything else."""

    rungs: tuple[Rung, ...]


@dataclass(frozen=True)
class Matrix:
    """A Jacobian, its rows k and columns j numbered from 0 in the whole."""

    name: str
    J: Array
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    text: str


@dataclass(frozen=True)
class Jacobians:
    matrices: tuple[Matrix, ...]
    chosen: int


Block = Text | Equation | Heading | Numbers | Picture | Drawings | Ladders | Steps | Jacobians


@dataclass(frozen=True)
class Section:
    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """All that is shown; neurons to choose from are counted from 0, `names` theirs or empty."""

    sections: tuple[Section, ...]
    verdict: str
    neuron: int
    neurons: tuple[int, ...]
    names: tuple[str, ...]
