"""What is wrong with a gradient, in words.

What belongs here: comparisons of a wrong gradient with what known mistakes would make of it, most
telling first. What does not: finding out that it is wrong (elements.py, taylor.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastbp.check import judging
from fastbp.check.gradients.claim import Claim
from fastbp.check.gradients.elements import Elements
from fastbp.check.judging import FAIL, INCONCLUSIVE
from fastbp.check.paper.model import Mistake
from fastbp.check.subject import NetworkSubject

Array = np.ndarray

WORDS = {"W": "weights", "b": "biases", "s": "scales"}
CLOSE = 1e-5  # relative, of two gradients that are taken for the same


def of(claim: Claim, found: Elements) -> list[str]:
    """Sentences about what is wrong; the last say where."""
    patient = _Patient(claim, found)
    if not np.isfinite(claim.gradient).all():  # the claim's notes say where
        return [*patient.finite(), *patient.besides()]
    for look in (patient.proportional, patient.combined):
        said = list(look())
        if said:
            return [*said, *patient.layers_wrong(), *patient.besides()]
    for look in (patient.mistaken, patient.local):
        said = list(look())
        if said:
            break
    where = [*(patient.equation() or patient.layers_wrong()), *patient.besides()]
    return [*said, *(where or patient.everywhere())]


class _Patient:
    """A wrong gradient, with what it should be: by the model where that agrees with the loss."""

    def __init__(self, claim: Claim, found: Elements) -> None:
        self.checked, self.analytic, self.points = claim.subject, claim.gradient, found.by_name
        self.tensors = {t.name: t for t in found.tensors}
        self.model = model = claim.model
        checked, analytic = self.checked, self.analytic
        self.close = CLOSE if self._is_double() else 1e-3
        self.parts = [analytic[t.part].reshape(t.shape) for t in checked.tensors]
        self.right = self._right()
        self.n_outputs = model.n_outputs if model else self._n_outputs()
        self.n_rows = len(np.asarray(getattr(checked, "X", [0])))

    def _is_double(self) -> bool:
        points = [p for name, p in self.points.items() if name in self._names()]
        return all((p["analytic"] != p["analytic"].astype(np.float32)).any() for p in points)

    def _names(self) -> list[str]:
        return [t.name for t in self.checked.tensors]

    def _n_outputs(self) -> int:
        return self.checked.tensors[-1].size if len(self.checked.tensors) > 1 else 0

    def _right(self) -> list[Array] | None:
        """The gradient by the model, if differences of the loss agree with it."""
        if self.model is None:
            return None
        with np.errstate(all="ignore"):
            data = self.model.gradient()
            l2, l1 = self.model.penalties(self.model.l2, self.model.l1)
        self.data, self.l2, self.l1 = data, l2, l1
        right = self._with_penalties(data)
        for tensor, part in zip(self.checked.tensors, right, strict=True):
            p = self.points.get(tensor.name)
            if p is None:
                continue
            there = part.ravel()[p["index"]]
            known = (p["status"] != INCONCLUSIVE) & np.isfinite(p["numeric"])
            size = np.abs(there).max(initial=0.0)
            gap = np.abs(there - p["numeric"])
            if (gap > p["bound"] + 1e-3 * np.abs(there) + 1e-6 * size)[known].any():
                return None
        return right

    def _with_penalties(self, data: list[Array]) -> list[Array]:
        """The whole gradient, of a data part: penalties times the decay of each tensor."""
        assert self.model is not None
        parts = zip(data, self.l2, self.l1, self.model.decays, strict=True)
        return [d + (decay * (a + b) if decay else 0) for d, a, b, decay in parts]

    def _same(self, one: Sequence[Array], other: Sequence[Array]) -> bool:
        """Whether two gradients agree, tensor by tensor."""
        largest = max(float(np.abs(b).max(initial=0.0)) for b in other)
        for a, b in zip(one, other, strict=True):
            if not np.isfinite(a).all() or not np.isfinite(b).all():
                return False
            if np.abs(a - b).max() > self.close * np.abs(b).max() + 1e-12 * largest:
                return False
        return True

    def _ratio(self, names: Sequence[str]) -> float | None:
        """Analytic over numeric, where it is the same in all elements that differences resolve."""
        chosen = [self.points[n] for n in names if n in self.points]
        if not chosen:
            return None
        analytic, numeric, bound, rounding = (
            np.concatenate([p[key] for p in chosen])
            for key in ("analytic", "numeric", "bound", "rounding")
        )
        if self.right is not None:  # by the model: it agrees with the differences, and is exact
            places = [i for i, name in enumerate(self._names()) if name in names]
            parts = [(self.right[i].ravel(), self.points.get(self._names()[i])) for i in places]
            numeric = np.concatenate([part[p["index"]] for part, p in parts if p is not None])
            bound = np.zeros_like(numeric)
        return judging.ratio_of(analytic, numeric, bound, tolerance=self.close, rounding=rounding)

    # what may be wrong, most telling first

    def proportional(self) -> Iterator[str]:
        """One factor for every element."""
        names = self._names()
        ratio = self._ratio(names)
        if ratio is None or abs(ratio - 1) <= self.close:
            return
        if self.model is not None and (self.model.l2 or self.model.l1) and ratio > 0:
            return  # a factor of the data part alone is more likely: `combined` tells
        yield self._factor_in_words(ratio, "The gradient", "its slope")

    def _factor_in_words(self, ratio: float, what: str, of: str) -> str:
        words = judging.in_words(ratio, self.close).removesuffix(" of")
        times = f"{words} {'of ' if not words.endswith('times') else ''}{of}"
        text = f"{what} is {times}, everywhere"
        if abs(ratio + 1) <= self.close:
            return f"{what} has the wrong sign, everywhere."
        reasons = []
        m, n = self.n_rows, self.n_outputs

        def near(value: float) -> bool:
            return value > 0 and abs(ratio / value - 1) <= self.close

        if m > 1 and near(m):
            reasons.append(f"the batch has {m} rows: its 1/m is missing")
        if m > 1 and near(1 / m):
            reasons.append(f"the batch has {m} rows: its 1/m is applied twice")
        if n > 1 and near(n):
            reasons.append(
                f"{n} is the number of outputs: the loss divides by it and the gradient does not"
            )
        if n > 1 and near(1 / n):
            reasons.append(
                f"{n} is the number of outputs: the gradient divides by it and the loss does not"
            )
        total = self._sum_of_weights()
        if total is not None and near(total / m):
            reasons.append("divided by the number of rows instead of the sum of sample_weight")
        if total is not None and near(total):
            reasons.append("the division by the sum of sample_weight is missing")
        if near(2.0) or near(0.5):
            reasons.append("a 2, or the 1/2 of a squared error, is in one and not in the other")
        return f"{text}: {'; or '.join(reasons)}." if reasons else f"{text}."

    def _sum_of_weights(self) -> float | None:
        if self.model is None or (self.model.w == 1).all():
            return None
        return float(self.model.w.sum())

    def combined(self) -> Iterator[str]:
        """Data part and penalties, each with a factor of its own."""
        if self.right is None or self.model is None:
            return
        if self._sum_of_weights() is not None:
            unweighted = self.model.gradient(weighted=False)
            if self._same(self.parts, self._with_penalties(unweighted)):
                yield "sample_weight is left out of the gradient: every sample counts the same."
                return
        asked = {"l2": self.model.l2, "l1": self.model.l1}
        absent = [name for name, value in asked.items() if not value]
        for more in ([], *([name] for name in absent), absent):  # what explains it with least
            found = self._by_parts({**asked, **dict.fromkeys(more, 1.0)}, more)
            if found:
                yield from found
                return

    def _by_parts(self, penalties: dict[str, float], absent: list[str]) -> list[str]:
        """In words, of which parts it is the sum; `absent`: penalties that the loss has not."""
        assert self.model is not None
        parts, decays = {"data": self.data}, self.model.decays
        both = self.model.penalties(penalties["l2"], penalties["l1"])
        for penalty, of in zip(penalties, both, strict=True):
            parts[penalty] = [a * decay for a, decay in zip(of, decays, strict=True)]
            for letter, name in WORDS.items():  # that are not to be penalised
                own = zip(of, decays, self.model.letters, strict=True)
                parts[f"{penalty} of {name}"] = [a * (d == 0 and x == letter) for a, d, x in own]
        parts = {key: of for key, of in parts.items() if any(p.any() for p in of)}
        if len(parts) < 2 or self.analytic.size <= 2 * len(parts):  # so few fit anything
            return []
        columns = {k: np.concatenate([p.ravel() for p in v]) for k, v in parts.items()}
        sizes = np.array([np.abs(v).max() for v in columns.values()])
        matrix = np.stack(list(columns.values()), axis=1) / sizes
        if not np.isfinite(self.analytic).all() or np.linalg.matrix_rank(matrix) < len(columns):
            return []
        factors = np.linalg.lstsq(matrix, self.analytic, rcond=None)[0] / sizes
        c = dict(zip(columns, factors.tolist(), strict=True))
        fitted = [sum(c[k] * parts[k][i] for k in c) for i in range(len(self.parts))]
        if not self._same(self.parts, [np.asarray(f) for f in fitted]):
            return []

        def is_there(key: str) -> bool:
            return any(
                np.abs(c[key] * part).max() > self.close * np.abs(own).max()
                for part, own in zip(parts[key], self.parts, strict=True)
            )

        out = []
        for key, factor in c.items():
            penalty, _, others = key.partition(" of ")
            if others or penalty in absent:
                wrong = is_there(key)
            else:
                wrong = abs(factor - 1) > 100 * self.close
            if wrong:
                words = self._absent_in_words if penalty in absent else self._part_in_words
                out.append(words(key, factor))
        return out

    def _absent_in_words(self, key: str, factor: float) -> str:
        """Of a penalty that the gradient has and the loss has not."""
        penalty, _, others = key.partition(" of ")
        of = {"weights": "W", "biases": "b", "scales": "s"}[others or "weights"]
        shape = of if penalty == "l2" else f"sign({of})"
        rest = f"The rest is {factor / self.n_rows:.6g} {shape}, in all layers"
        rows = "" if self.n_rows == 1 else f" over {self.n_rows} rows"
        if factor < 0:
            return f"{rest}: a penalty with the wrong sign, and one that the call has not."
        beside = f", and decays={{'{of}*': 1}}" if others else ""
        return f"{rest}: a penalty that the call has not ({penalty}={factor:.6g}{rows}{beside})."

    def _part_in_words(self, key: str, factor: float) -> str:
        m, near = self.n_rows, 100 * self.close
        if key == "data":
            words = self._factor_in_words(factor, "The data part of the gradient", "its slope")
            return words + " The penalty is right." if words.endswith(".") else words
        penalty, _, others = key.partition(" of ")
        name = penalty.upper()
        if others:
            what = others.capitalize()
            return f"{what} are regularised: {name} stands in their gradient ({factor:.6g} times)."
        if abs(factor) <= near:
            return f"The {name} term is left out of the gradient."
        if abs(factor / m - 1) <= near and m > 1:
            return (
                f"The {name} term is {m} times too large, once for each of the {m} rows: it stands "
                "inside the loop over samples."
            )
        if abs(factor * m - 1) <= near and m > 1:
            return f"The {name} term is divided by the {m} rows once too often."
        return f"The {name} term is {judging.in_words(factor, near)} what it should be."

    def mistaken(self) -> Iterator[str]:
        """A known mistake in delta, at one layer or at all."""
        if self.right is None or self.model is None:
            return
        with np.errstate(all="ignore"):
            for mistake in self.model.possible_mistakes():
                data = self.model.gradient(mistake)
                if self._same(data, self.data):
                    continue  # it would change nothing here
                if self._same(self.parts, self._with_penalties(data)):
                    yield self._mistake_in_words(mistake)
                    return

    def _mistake_in_words(self, mistake: Mistake) -> str:
        assert self.model is not None
        layer = mistake.layer
        at = f"at layer {layer}" if layer else "at every layer"
        name = self.model.names[layer - 1] if layer else ""
        return {
            "the k = j term only": (
                f"Only the k = j term {at}: every output of {name or 'these layers'} depends on "
                "every z_j, so the sum over k does not collapse, and it has been dropped."
            ),
            "J for J^T": (
                f"J where J^T belongs {at}: delta_j = sum_k g_k da_k/dz_j sums over the rows of J."
            ),
            "W for W^T": f"W transposed (or not) in the recurrence that leads to layer {layer}."
            if layer
            else "W transposed (or not) in the recurrence.",
            "sigma'(a) for sigma'(z)": (
                f"sigma' is taken at a instead of z {at}: sigma'(a) for sigma'(z)."
            ),
        }[mistake.kind]

    def local(self) -> Iterator[str]:
        """Tensors, layers or neurons that are wrong by themselves."""
        names = self._names()
        if len(names) == 1:
            return
        wrong = {n: self.tensors[n].failed > 0 for n in names if n in self.tensors}
        yield from self._transposed_tensors(wrong)
        if self._is_scaled_layer(wrong):
            yield from self._scaled(wrong)
            return
        bad = {n[0] for n in wrong if wrong[n]}
        if len(bad) == 1:
            (letter,) = bad
            ratios = {n: self._ratio([n]) for n in wrong if wrong[n]}
            factor = self._one_factor(ratios)
            others = [WORDS[other] for other in WORDS if other in {n[0] for n in names} - bad]
            yield (
                f"Only {WORDS[letter]} are wrong ({', '.join(ratios)}){factor}: "
                f"{' and '.join(others)} agree everywhere."
            )
            if letter != "W":
                return
        yield from self._masked(wrong)

    def _one_factor(self, ratios: dict[str, float | None]) -> str:
        if all(not self.points[n]["analytic"].any() for n in ratios):
            return ", all zero"
        values = [r for r in ratios.values() if r is not None]
        if len(values) == len(ratios) and np.ptp(values) <= self.close * np.abs(values).max():
            return f", {judging.in_words(values[0], self.close)} what they should be"
        return ""

    def _transposed_tensors(self, wrong: dict[str, bool]) -> Iterator[str]:
        for tensor in self.checked.tensors:
            p = self.points.get(tensor.name)
            square = len(tensor.shape) == 2 and tensor.shape[0] == tensor.shape[1] > 1
            if not square or p is None or not wrong[tensor.name] or len(p["index"]) < tensor.size:
                continue
            numeric = p["numeric"].reshape(tensor.shape)
            turned = p["analytic"].reshape(tensor.shape).T
            size = np.abs(numeric).max()
            if (np.abs(turned - numeric) <= self.close * size).all():
                yield f"The gradient of {tensor.name} looks transposed: turned, it agrees."

    def _layers(self) -> dict[int, list[str]]:
        """Names of each layer's tensors, where they have such."""
        tensors = self.checked.tensors
        found: dict[int, list[str]] = {}
        for tensor in tensors if len(tensors) > 1 else ():
            found.setdefault(tensor.layer, []).append(tensor.name)
        return found

    def _is_scaled_layer(self, wrong: dict[str, bool]) -> bool:
        several = [names for names in self._layers().values() if len(names) > 1]
        return any(all(wrong.get(n) for n in names) for names in several)

    def _scaled(self, wrong: dict[str, bool]) -> Iterator[str]:
        """delta of one layer too large: the layers below inherit it, or not."""
        layers = self._layers()
        ratios = {i: self._ratio(names) for i, names in layers.items()}
        bad = [i for i, names in layers.items() if any(wrong.get(n) for n in names)]
        top = max(bad)
        ratio = ratios[top]
        if ratio is None:
            yield from self._masked(wrong)
            return
        words = judging.in_words(ratio, self.close)
        if abs(ratio) < 1e-12:
            yield f"The gradient of layer {top} is zero: delta^{top} is lost."
            return
        # dead layers carry no gradient and so no ratio
        below = [ratios[i] for i in bad if i < top]
        if abs(ratio - 1) <= 100 * self.close:
            return  # no factor: too small an error to tell
        same = all(r is not None and abs(r / ratio - 1) <= self.close for r in below)
        if abs(ratio + 1) <= self.close:
            words = "the negative of"
        if same and (below or top == 1):
            tail = (
                f", and with it the layers below it, {', '.join(map(str, bad[:-1]))}"
                if below
                else ""
            )
            yield f"delta of layer {top} is {words} what it should be{tail}."
        elif not below:
            yield (
                f"The gradient of layer {top} is {words} what it should be; delta handed on to the "
                "layers below is right."
            )

    def _masked(self, wrong: dict[str, bool]) -> Iterator[str]:
        """In the highest wrong layer: neurons that are wrong as a whole, the others right."""
        layers = [i for i, n in self._layers().items() if any(wrong.get(name) for name in n)]
        if not layers:
            return
        top = max(layers)
        tensors = [t for t in self.checked.tensors if t.layer == top]
        points = [self.points.get(t.name) for t in tensors]
        analytic_rows, numeric_rows = [], []
        for t, p in zip(tensors, points, strict=True):
            if p is None or len(p["index"]) < t.size:
                return
            analytic_rows.append(p["analytic"].reshape(-1, t.shape[-1]))
            numeric_rows.append(p["numeric"].reshape(-1, t.shape[-1]))
        analytic, numeric = np.vstack(analytic_rows), np.vstack(numeric_rows)
        size = np.abs(numeric).max()
        off = np.abs(analytic - numeric).max(axis=0) > self.close * size
        lost = off & ~analytic.any(axis=0)
        extra = off & (np.abs(numeric).max(axis=0) <= 1e-9 * max(np.abs(analytic).max(), 1e-300))
        if off.any() and (lost | extra)[off].all() and not off.all():
            yield (
                f"Whole neurons of layer {top} are switched off in one pass and not in the other "
                f"(neurons {_short(np.flatnonzero(off))}): a dropout mask that is not the forward "
                "pass's, a stale one."
            )
        elif off.any() and off.sum() <= max(1, len(off) // 4):
            yield f"In layer {top} only neurons {_short(np.flatnonzero(off))} are wrong."

    # where

    def everywhere(self) -> list[str]:
        """Where every layer is wrong."""
        last = len(self._layers())
        if last < 2:
            return []
        return [
            f"Wrong from the output layer down: look at delta^{last} (BP1) first, and at "
            "what all layers share."
        ]

    def equation(self) -> list[str]:
        """BP3 or BP4, where one tensor of each wrong layer is right, and with it its delta."""
        wrong = {n: t for n, t in self.tensors.items() if n in self._names() and t.failed}
        bad, out = {n[0] for n in wrong}, []
        for letter, other, what in (
            ("W", "b", "BP4 of layer {0}, its product of a^{1} and delta^{0}"),
            ("b", "W", "BP3 of layer {0}, its sum of delta^{0} over the rows"),
        ):
            beside = [self.tensors.get(f"{other}{n[1:]}") for n in wrong]
            if bad == {letter} and all(t and not (t.failed or t.inconclusive) for t in beside):
                out += [
                    f"{other}{n[1:]} agrees, and with it delta^{n[1:]}: look at "
                    f"{what.format(n[1:], int(n[1:]) - 1)}."
                    for n in wrong
                ]
        return out

    def finite(self) -> list[str]:
        """What is to be said of the other elements of a gradient that is not finite everywhere."""
        wrong = [
            f"{n} ({int(failed.sum())})"
            for n in self._names()
            if n in self.points
            and (
                failed := (self.points[n]["status"] == FAIL)
                & np.isfinite(self.points[n]["analytic"])
            ).any()
        ]
        if wrong:
            return [f"Elements that are finite are wrong too: {', '.join(wrong)}."]
        known = any(np.isfinite(p["analytic"]).any() for p in self.points.values())
        return ["All that is finite agrees."] if known else []

    def layers_wrong(self) -> list[str]:
        """From which layer on it is wrong."""
        layers = self._layers()
        last = len(layers)
        bad = [
            i
            for i, names in layers.items()
            if any(n in self.tensors and self.tensors[n].failed for n in names)
        ]
        out = []
        if bad and bad == list(range(1, max(bad) + 1)) and max(bad) < last:
            top = max(bad)
            out.append(
                f"Right down to layer {top + 1}, wrong from layer {top}: look at the step from "
                f"delta^{top + 1} to layer {top}."
            )
        elif bad and len(bad) < last:
            out.append(f"Wrong in layer{'s' * (len(bad) > 1)} {', '.join(map(str, bad))} only.")
        return out

    def besides(self) -> list[str]:
        """Other derivatives that are wrong too, and a single element."""
        out = []
        if isinstance(self.checked, NetworkSubject):
            deltas = [
                t.name for t in self.tensors.values() if t.name.startswith("delta") and t.failed
            ]
            if deltas:
                out.append(f"net.deltas is wrong too: {', '.join(sorted(deltas))}.")
            if "x" in self.tensors and self.tensors["x"].failed:
                out.append("net.input_gradient is wrong.")
        counts = [(n, self.points[n]["status"]) for n in self._names() if n in self.points]
        single = [(n, s) for n, s in counts if (s == FAIL).any()]
        if len(single) == 1 and (single[0][1] == FAIL).sum() == 1:
            out.append(f"Only one element is wrong: {self.tensors[single[0][0]].element}.")
        return out


def _short(index: Array) -> str:
    shown = ", ".join(str(int(i)) for i in index[:8])
    return shown + (", ..." if len(index) > 8 else "")
