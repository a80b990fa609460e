"""`fit_many`: many networks in one call.

What belongs here: arguments of which each network may have its own, and data that networks share,
as a request for each. What does not: an option's own check (fit.py), how requests are trained side
by side (crew.py, lanes.py).
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import numpy as np

from fastbp import inputs
from fastbp.data.chunks import is_chunks
from fastbp.functions import shown
from fastbp.inputs import ArrayLike, Rows
from fastbp.network import Network
from fastbp.optimizers import LBFGS
from fastbp.samples import Samples
from fastbp.sparse import Lists
from fastbp.training import parts
from fastbp.training.crew import Crew
from fastbp.training.driver import DivergenceError, check_fit
from fastbp.training.fit import Asked, fit
from fastbp.training.history import History
from fastbp.training.outcome import Outcome
from fastbp.training.request import Request
from fastbp.training.watchers.bar import Members

REST = "rest"  # of the rows, as validation
PARAMETERS = list(inspect.signature(fit).parameters.values())[3:]  # behind net, X and Y
OF_ONE = ("threads", "comm", "shard", "sync_every")
OPTIONS = {p.name: p.default for p in PARAMETERS if p.name not in OF_ONE}
# of the whole call
WHOLE = ("ignore_missing", "progress", "checkpoint", "every", "time_limit")
# lists already: those of several networks are lists of lists
LISTS = ("dropout", "metrics", "callbacks", "sample_weight")


def fit_many(
    networks: Iterable[Network],
    X: Rows | Sequence[Rows],
    Y: ArrayLike | Sequence[ArrayLike],
    *,
    rows: np.ndarray | Sequence[ArrayLike] | None = None,
    threads: int | None = None,
    raise_on_divergence: bool = False,
    **options: object,
) -> list[History]:
    """Train many networks in place, each as its own `Network.fit` would.

    ``fit_many(networks, X, Y, ...)[i]`` leaves, to the bit, what ``networks[i].fit(X[rows[i]],
    Y[rows[i]], ...)`` leaves with the i-th of every option. Small networks of one shape train side
    by side, one in each lane of the CPU's vectors; the others are spread over the cores.

    Parameters
    ----------
    networks : iterable of Network
        Of one or several architectures; none twice.
    X, Y : as in `Network.fit`, or lists of one each
        One for all networks, which is read where it lies and never copied for each; or as many as
        networks.
    rows : sequence of index arrays, or array of bool (n_networks, n), optional
        The rows of X and Y that each network trains on, in that order and as often as they are
        named: folds, bootstraps, groups.
    threads : int, optional
        How many networks, or groups of them, train at once; every core when None.
    raise_on_divergence : bool
        Whether a network that diverges ends the call. Otherwise it alone ends, with its last finite
        parameters, and its History has the `error`.
    epochs, batch_size, optimizer, shuffle, drop_last : as in `Network.fit`, or a list of such
        Every option may be a list with one for each network, but those told of below.
    seed : as in `Network.fit`, or a list of such
        One that is no list is every network's own; None draws one for each.
    validation : as in `Network.fit`, or a list of such
        ``"rest"``: the rows of X that are not among the network's `rows`, with their weights.
    l2, l1 : float, or a list of float
        As in `Network.fit`.
    sample_weight : array_like (n,), or a list of such
        Each for all rows of X.
    clip_value, clip_norm : as in `Network.fit`, or a list of such
        Of each network's own gradient.
    dropout : as in `Network.fit`
        Which takes lists already: one for each network is a list of lists.
    ignore_missing : bool
        As in `Network.fit`, for all networks.
    callbacks : iterable of callables, or a list of lists
        Called one at a time, though from several threads.
    progress : bool
        One bar for all networks.
    resume, schedule, rates, decays : as in `Network.fit`, or a list of such
        What a network goes on from, and what multiplies its rates and penalties.
    metrics : as in `Network.fit`
        Which takes lists already: one for each network is a list of lists.
    early_stopping : EarlyStopping, or a list of such
        Each network stops by itself.
    time_limit : float
        Seconds in all; networks whose turn has not come by then stay as they are, with an empty
        History.
    ema, class_weight, label_smoothing, loss : as in `Network.fit`, or a list of such
        What each network's run minimises and averages.
    checkpoint : str or path-like
        One file for all networks.
    every : float
        Seconds from one writing of it to the next.

    Returns
    -------
    list of History
        One for each network, in their order.

    Raises
    ------
    TypeError, ValueError
        An argument is refused, by its name; nothing has changed.
    DivergenceError
        With `raise_on_divergence`; the other networks are left after a whole step.
    KeyboardInterrupt
        Ctrl-C leaves every network after a whole step.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> nets = [fastbp.Network([1, 8, 1], output="identity", loss="mse", seed=i) for i in range(3)]
    >>> rates = [fastbp.Adam(rate) for rate in (0.001, 0.01, 0.1)]
    >>> histories = fastbp.fit_many(nets, X, X**2, optimizer=rates, epochs=50, seed=0)
    >>> len(histories), histories[0].epochs
    (3, 50)
    """
    call = Call(networks, X, Y, rows, options)
    checked = inputs.as_flag(raise_on_divergence, "raise_on_divergence")

    def halts(error: BaseException) -> bool:
        return checked or not isinstance(error, DivergenceError)

    crew = Crew([member.request() for member in call.members], threads, halts)
    if call.progress:
        crew.watch(Members(len(call.members)))
    if call.file is not None:
        crew.watch(call.file)
    return [_history(outcome) for outcome in crew.train()]


fit_many.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *list(inspect.signature(fit_many).parameters.values())[:6],
        *(p for p in PARAMETERS if p.name in OPTIONS),
    ],
    return_annotation="list[History]",
)


def _history(outcome: Outcome) -> History:
    history = outcome.history
    assert history is not None
    if isinstance(outcome.error, DivergenceError):
        history.error = outcome.error.with_traceback(None)  # which would hold the run's memory
    return history


class Call:
    """The arguments of one call, taken apart: each network's own, and what several share."""

    def __init__(
        self, networks: Any, X: Any, Y: Any, rows: Any, options: Mapping[str, Any]
    ) -> None:
        self.networks = nets = _as_networks(networks)
        _check_names(options)
        self.lock = threading.RLock()
        self.made: dict[Any, Any] = {}  # what was checked or made for one network serves others
        self.kept: list[Any] = []  # whose ids stand in the keys
        self.Xs, self.Ys = self._data(X, Y)
        self.rows = self._rows(rows)
        own = {name: self._of_each(name, value) for name, value in options.items()}
        self.file: Any = None
        if options.get("checkpoint") is not None:
            from fastbp.training.watchers.checkpoint import Shared

            every = inputs.as_penalty(options.get("every", OPTIONS["every"]), "every")
            self.file = Shared(options["checkpoint"], every)
        self.progress = inputs.as_flag(options.get("progress", False), "progress")
        own.pop("progress", None)  # one bar for all
        self.members = []
        for i, net in enumerate(nets):
            arguments = OPTIONS | {name: values[i] for name, values in own.items()}
            self.members.append(Member(self, i, net, arguments))

    def _data(self, X: Any, Y: Any) -> tuple[list[Any], list[Any]]:
        """X and Y of each network."""
        n = len(self.networks)
        if is_chunks(X):
            raise TypeError(f"X: expected arrays in fit_many; got {X!r}: Network.fit takes chunks")
        if isinstance(X, np.ndarray) and X.ndim == 3:
            X = list(X)
        if _is_list_of(X, _is_matrix):
            for name, values in (("X", X), ("Y", Y)):
                what = f"one for each of the {n} networks, as X is a list of matrices"
                if len(_as_list(values, name, what)) != n:
                    raise ValueError(f"{name}: expected {what}; got {len(values)}")
            return list(X), list(Y)
        for i, net in enumerate(self.networks):
            if net.dtype != self.networks[0].dtype:
                raise TypeError(
                    f"networks: expected one dtype for one X; got {self.networks[0].dtype} and "
                    f"{net.dtype} (networks[{i}])"
                )
        length = (len(X),) if isinstance(X, Sequence) else _shape(X)[:1]
        if _is_list_of(Y, lambda y: _shape(y)[:1] == length != ()):
            _check_length("Y", Y, n)
            return [X] * n, list(Y)
        return [X] * n, [Y] * n

    def _rows(self, rows: Any) -> list[Any]:
        """The rows of each network, as they were given."""
        n = len(self.networks)
        if rows is None:
            return [None] * n
        if isinstance(rows, np.ndarray) and (rows.ndim != 2 or rows.dtype.kind not in "biu"):
            raise ValueError(
                f"rows: expected an index array for each of {n} networks, or a boolean "
                f"({n}, n) mask; got shape {rows.shape} of {rows.dtype}"
            )
        if isinstance(rows, (str, bytes, Mapping)):
            raise TypeError(f"rows: expected an index array for each network; got {shown(rows)}")
        given = _as_list(rows, "rows", "an index array for each network")
        _check_length("rows", given, n)
        return given

    def rows_of(self, index: int, n: int) -> np.ndarray | None:
        """The rows of one network, of n, checked; equal ones are one object."""
        given = self.rows[index]
        if given is None:
            return None
        name = f"rows[{index}]"
        rows: np.ndarray = self.once(
            ("rows", id(given), n), lambda: _as_rows(given, name, n), given
        )
        return cast(np.ndarray, self.once(("rows", rows.tobytes()), lambda: rows))

    def _of_each(self, name: str, value: Any) -> list[Any]:
        """An option of each network."""
        n = len(self.networks)
        is_array = isinstance(value, np.ndarray) and value.ndim == 1 and name != "sample_weight"
        if name in LISTS:
            differs = isinstance(value, (list, tuple)) and any(
                part is None or isinstance(part, (list, tuple, np.ndarray, Mapping))
                for part in value
            )
        else:
            differs = isinstance(value, list) or is_array
        if differs and name in WHOLE:
            raise TypeError(
                f"{name}: expected one for the whole call, which cannot differ within it; got "
                f"{shown(value)}"
            )
        if not differs:
            return [value] * n
        values = value.tolist() if is_array else list(value)
        _check_length(name, values, n)
        return values

    def once(self, key: Any, make: Callable[[], Any], *kept: Any) -> Any:
        """What `make` gives, the same for every network that asks by an equal key."""
        if key not in self.made:
            self.kept.append(kept)  # so that no other object is given an id of the key
            self.made[key] = make()
        return self.made[key]


class Member(Asked):
    """The arguments of one network, checked."""

    def __init__(self, call: Call, index: int, net: Network, options: dict[str, Any]) -> None:
        super().__init__(net=net, X=call.Xs[index], Y=call.Ys[index], threads=1, **options)
        self.call, self.index, self.lock = call, index, call.lock
        self.rows: np.ndarray | None = None
        several = len(call.networks) > 1
        try:
            self.check_options()
            if isinstance(self.optimizer, LBFGS):
                raise ValueError(
                    f"optimizer: expected one of steps in fit_many; got {self.optimizer}, which "
                    "takes all samples at once: Network.fit has it"
                )
            self.check_data()
        except (TypeError, ValueError) as error:
            if not several:
                raise
            raise type(error)(f"{error} (networks[{index}])") from None

    def opened(self) -> Any:
        if self.resume is not None:
            return super().opened()
        return self.call.file.part(self.index)

    def _check_parameters(self) -> None:
        net = self.net
        if not net.parameters.flags.writeable:
            raise ValueError(
                "networks: expected parameters that can be written; got read-only ones"
            )
        if not net._doors.is_finite(net.parameters):
            inputs.as_numbers(net.parameters, "parameters", net.dtype)

    def _reads_as(self) -> tuple[Any, ...]:
        """What of the network decides how it reads data."""
        net = self.net
        return (
            net.dtype, net.sizes[0], net._n_targets, net._loss.name, net._output.name,
            id(self.loss), str(net.columns),
        )  # fmt: skip

    def samples(self) -> Samples:
        call = self.call
        key = "samples", id(self.X), id(self.Y), id(self.sample_weight), *self._reads_as()
        data: Samples = call.once(key, super().samples, self.X, self.Y, self.sample_weight)
        self._check_parameters()
        self.rows = call.rows_of(self.index, len(data.X))
        if self.rows is None:
            return data
        if data.weight is not None and not data.weight[self.rows].any():
            raise ValueError(
                "sample_weight: expected at least one weight above 0 among the network's rows; "
                "got only zeros"
            )
        if data.missing and data.dense is not None and np.isnan(data.dense[self.rows]).all():
            raise ValueError(
                "Y: expected at least one target that is not missing among the network's rows; got "
                "NaN alone"
            )
        return data.of(self.rows)

    def parts(self, data: Samples, shares: bool) -> tuple[Samples, Any]:
        net, call, validation = self.net, self.call, self.validation
        if isinstance(validation, str) and validation == REST:
            if self.rows is None:
                raise ValueError("validation: expected rows with 'rest'; got none (rows=None)")
            held_out = functools.partial(self._rest, data)
            parts.check_weights(data, held_out())
            # their numbers take as much as a column of X: anew for each run at hand
            return data, held_out if self._reads_rows(data) else held_out().whole()
        if not shares:
            key = "given", id(validation), *self._reads_as()
            given = functools.partial(parts.given, net, data, validation, self.loss)
            return data, call.once(key, given, validation)
        of_split = ("split", data.n, validation, self.seed)
        split = functools.partial(parts.split_off, data.n, validation, self.seed)
        trained, held = call.once(of_split, split)
        trained, held = data.of(trained), data.of(held)
        parts.check_weights(trained, held)
        return trained, held if self._reads_rows(data) else held.whole()

    def _reads_rows(self, data: Samples) -> bool:
        """Whether rows are evaluated where they lie."""
        return self.loss is None and not isinstance(data.X, Lists)

    def _rest(self, data: Samples) -> Samples:
        n = len(data.X)
        assert self.rows is not None
        left = np.ones(n, bool)
        left[self.rows] = False
        if not left.any():
            raise ValueError(f"validation: expected rows left over for 'rest'; got all {n} of X")
        return data._replace(rows=np.flatnonzero(left))

    def changed(self, data: Samples) -> Samples:
        call = self.call
        if self.class_weight is None and not self.label_smoothing:
            return data
        key = (
            "changed", id(data.X), id(data.Y), id(data.weight), id(data.rows), self.net._n_targets,
            self.net._loss.name, id(self.class_weight), self.label_smoothing,
        )  # fmt: skip
        kept = data, self.class_weight
        made: Samples = call.once(key, lambda: super(Member, self).changed(data), *kept)
        return made

    def request(self) -> Request:
        request = super().request()
        check_fit(request.numbers, self.net.dtype)  # before any other network is trained
        return request

    def judged(self) -> Samples | None:
        held_out = self.held_out() if callable(self.held_out) else self.held_out
        return None if held_out is None else held_out.targets()


def _as_networks(networks: Any) -> list[Network]:
    if isinstance(networks, Network):
        raise TypeError(f"networks: expected a list of Network; got {shown(networks)}")
    nets = _as_list(networks, "networks", "a list of Network")
    if not nets:
        raise ValueError("networks: expected at least one; got none")
    seen: dict[int, int] = {}
    for i, net in enumerate(nets):
        if not isinstance(net, Network):
            raise TypeError(f"networks[{i}]: expected a Network; got {shown(net)}")
        if id(net) in seen:
            raise ValueError(
                f"networks[{i}]: expected each network once; got networks[{seen[id(net)]}] again"
            )
        seen[id(net)] = i
    return nets


def _check_names(options: Mapping[str, Any]) -> None:
    from fastbp import hints

    for name in options:
        if name not in OPTIONS:
            known = ["rows", "threads", "raise_on_divergence", *OPTIONS]
            hint = hints.argument("fit_many", name, known)
            raise TypeError(f"fit_many: unexpected argument {name!r}.{hint}")


def _as_list(value: Any, name: str, what: str) -> list[Any]:
    if not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected {what}; got {shown(value)}")
    try:
        return list(value)
    except Exception as error:
        raise TypeError(f"{name}: expected {what}; got {shown(value)}: {error}") from error


def _shape(value: Any) -> tuple[int, ...]:
    """Of an array, a frame, a sparse matrix; () of what has none."""
    shape = getattr(value, "shape", ())
    return shape if isinstance(shape, tuple) else ()


def _is_matrix(part: Any) -> bool:
    if len(_shape(part)) == 2:
        return True
    return (
        isinstance(part, (list, tuple))
        and bool(part)
        and (isinstance(part[0], (list, tuple)) or len(_shape(part[0])) == 1)
    )


def _is_list_of(value: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(fits, value))


def _check_length(name: str, values: Sequence[Any], n: int) -> None:
    if len(values) != n:
        raise ValueError(f"{name}: expected one for each of the {n} networks; got {len(values)}")


def _as_rows(value: Any, name: str, n: int) -> np.ndarray:
    array = inputs.as_array(value, name)
    if array.ndim != 1 or (array.dtype.kind not in "biu" and array.size):
        raise TypeError(
            f"{name}: expected row numbers (m,) or a mask ({n},); got shape {array.shape} of "
            f"{array.dtype}"
        )
    if array.dtype.kind == "b":
        if array.shape != (n,):
            raise ValueError(f"{name}: expected a mask of shape ({n},); got {array.shape}")
        array = np.flatnonzero(array)
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one row; got none")
    if array.min() < 0 or array.max() >= n:
        bad = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"{name}: expected rows 0..{n - 1}; got {bad}")
    return np.array(array, np.intp)
