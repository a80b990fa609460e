"""Random calls of everything public, good and bad, and the laws that hold of each.

A call that is refused changes nothing: neither the network nor the user's arrays nor files. It is
refused by ValueError, TypeError, OSError, MemoryError or DivergenceError, in words that name an
argument. Numbers that are not finite come with a warning. The same call gives the same bits.

    python tests/fuzz/calls.py --count 100000 --seed 1 --budget 600

What does not belong here: which calls there are (operations.py), bad values (values.py).
"""

import argparse
import faulthandler
import inspect
import mmap
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from operations import OPERATIONS, Call, Session
from sklearn.base import BaseEstimator
from users import Own
from values import NONSENSE, Draws

import fastbp
from fastbp import training
from fastbp.check import UncheckableError

LONGEST = 20  # seconds of one call: after that it hangs
MEMORY = 2 << 30  # bytes beyond what is in use
FAULTS = 3  # exit code; a process that hangs ends with 1
CALLS = 20  # of one session
PACKAGE = Path(fastbp.__file__).parent
REFUSALS = ValueError, TypeError, OSError, MemoryError, fastbp.DivergenceError
KINDS = {ValueError, TypeError, UncheckableError, MemoryError, fastbp.DivergenceError}
NAMES, WEIGHTS = tuple(OPERATIONS), np.cumsum([*OPERATIONS.values()])
WEIGHTS = (WEIGHTS / WEIGHTS[-1]).tolist()


# names of what was told earlier: parameters that a callback wrote, the file that is read ...
ALSO = (
    "parameters", "activation", "loss", "dropout", "cases", "table.csv", "sizes", "learning_rate",
    "l[12] / n", "schedule",
)  # fmt: skip


class Fault(AssertionError):
    """A law that does not hold."""


def run(session, operation, d, tell=None):
    """One call, and the laws."""
    call = operation(session, d)
    spoiled = spoil(call, d)
    if _is_endless(call):
        return
    if tell is not None:
        tell(f"{_name(call)}({', '.join(f'{k}={_short(v)}' for k, v in call.arguments.items())})")
    owner, net = call.owner, session.net
    arguments = {k: v for k, v in call.arguments.items() if k not in call.writes}
    before, state = bits(arguments), _state(session)
    files = _files(session) if call.touches_files else None
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        result, error = _outcome(call)
    if bits(arguments) != before:
        raise Fault("an array of the user's has changed")
    if not np.isfinite(net.parameters).all():
        if not _spoils(call):
            raise Fault("parameters are not finite")
        net.parameters = np.zeros(net.n_parameters)
    for warning in warned:
        if Path(warning.filename).name == "users.py" or (error and _is_sklearns(error)):
            continue  # the user's own, and scikit-learn's checks
        if issubclass(warning.category, FORBIDDEN) or "encountered" in str(warning.message):
            raise Fault(f"a bare warning: {warning.category.__name__}: {warning.message}")
    if error is not None:
        _check_refusal(call, error)
        late = isinstance(error, (Own, KeyboardInterrupt, fastbp.DivergenceError)) or _asks(call)
        late |= "non-finite" in str(error)  # the estimators' word for divergence
        if not (late and owner is not None) and _state(session) != state:
            raise Fault(f"refused, but something has changed: {error}")
        if files is not None and not late and _files(session) != files:
            raise Fault(f"refused, but a file has changed: {error}")
    else:
        if owner is None and _state(session) != state:
            raise Fault("a question has changed the network")
        # of a resumed run, NaN stands for what the earlier run has not recorded; of no chance the
        # logarithm is -inf
        may_be = call.arguments.get("resume") is not None or "log_proba" in _name(call)
        if not (warned or may_be or _is_finite(result)):
            raise Fault("a number is not finite, and nobody was told")
        if call.repeats and not spoiled and d.chance(0.2):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                again = call.function(**call.arguments)
            if bits(again) != bits(result):
                raise Fault("asked again it gives other bits")
        kept = call.keep(result)
        if call.twice is not None and not (spoiled or _spoils(call)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                again = call.twice()
            if bits(again) != bits(kept):
                raise Fault("a copy gives other bits")


FORBIDDEN = (DeprecationWarning, FutureWarning, SyntaxWarning, np.exceptions.ComplexWarning)


def _outcome(call):
    try:
        return call.function(**call.arguments), None
    except (Exception, KeyboardInterrupt) as error:
        return None, error


def _check_refusal(call, error):
    if isinstance(error, (Own, KeyboardInterrupt)):
        return
    text = str(error)
    estimator = isinstance(call.owner or getattr(call.function, "__self__", None), BaseEstimator)
    if estimator and _is_sklearns(error):
        return
    if isinstance(error, ImportError) and "pip install" in text:
        return  # which names the extra that is not there
    if not isinstance(error, REFUSALS) or not (
        type(error) in KINDS or isinstance(error, OSError) or estimator
    ):
        raise Fault(f"a bare exception: {type(error).__name__}: {text}") from error
    if isinstance(error, (OSError, fastbp.DivergenceError)):
        return
    if isinstance(error, MemoryError) and re.search(r"\bfits?\b", text):
        return  # which says what does not
    names = {*_parameters(call), *call.arguments, *ALSO, call.function.__name__}
    if estimator:
        names |= {*call.function.__self__.get_params(), "non-finite"}
        found = re.search(rf"\b({'|'.join(names)})\b", text)
    else:
        path = call.arguments.get("path")
        if isinstance(path, (str, Path)):  # messages about files begin with theirs
            names.add(re.escape(Path(path).name))
        found = re.match(rf"(\w+\.)?({'|'.join(names)})(\[.*?\]|\.\w+)*: ", text)
    if found is None:
        raise Fault(f"names no argument: {type(error).__name__}: {text}") from error


def _is_sklearns(error):
    """Whether scikit-learn has said so: its words are kept."""
    files = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    own = max((i for i, path in enumerate(files) if PACKAGE in path.parents), default=0)
    return any("sklearn" in path.parts for path in files[own:])


def spoil(call, d):
    """Put up to two bad values among the arguments; whether there are any."""
    if d.chance(0.45):
        return False
    names = _parameters(call)
    for spoiled in range(1 + d.chance(0.25)):
        if not names:
            return False
        name = d.pick(names)
        good = call.arguments.get(name)
        if not (good is None or spoiled) and d.chance(0.3):
            call.arguments[name] = near(good, d)
        else:
            call.arguments[name] = NONSENSE[d.pick(tuple(NONSENSE))]()
        if name == "epochs" and "X" in call.arguments:
            call.arguments["time_limit"] = 0.01  # it may be many
        call.touches_files |= name in ("path", "checkpoint")
    return True


def near(good, d):
    """A value like a good one."""
    with np.errstate(all="ignore"):
        return _near(good, d)


def _near(good, d):
    if isinstance(good, str):
        return d.pick((good.upper(), good + "x", good + "(0)", good + "(-1e400)", good[:2]))
    if isinstance(good, (bool, int, float)):
        return d.pick(
            (-good, good + 0.5, str(good), np.array(good), [good], np.nan, 1e300 * good, 10**9)
        )
    if isinstance(good, list) and any(not isinstance(v, (bool, int, float)) for v in good):
        return d.pick((good[:-1], [*good, *good], good[:1], [good], [near(v, d) for v in good]))
    if isinstance(good, (np.ndarray, list)):
        array = np.atleast_1d(np.array(good))
        bad = [array[:-1], array[None], array.ravel(), array.T, array.astype(str), array[..., :1]]
        if array.dtype.kind in "fiu":
            bad += [array * np.nan, array.astype(float) * np.inf, array * -1, array * 1e300]
            bad += [array.astype(object), array > 0, array + 0j]
            bad += [np.where(np.arange(array.size).reshape(array.shape) == 1, np.nan, array)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return d.pick(bad)
    return good


_KNOWN = {}
UNTRIED = ("argument",)


def _parameters(call):
    """Names of what the callable takes."""
    function = call.function
    key = getattr(function, "__func__", function)
    if key not in _KNOWN:
        found = [
            name
            for name, p in inspect.signature(function).parameters.items()
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        if key is fastbp.Network.fit:
            found = [name for name in inspect.signature(training.fit).parameters if name != "net"]
        _KNOWN[key] = tuple(name for name in found if name not in UNTRIED)
    return _KNOWN[key]


def _name(call):
    function = call.function
    return getattr(function, "__qualname__", type(function).__name__)


def _short(value):
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: {error!r:.30}>"
    return text if len(text) < 160 else text[:157] + "..."


# what is compared


def bits(value):
    """Something that is equal where every bit is; of what has none, its type."""
    if isinstance(value, np.ndarray):
        if value.dtype.hasobject or isinstance(value, np.ma.MaskedArray):
            return "objects", value.shape
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return struct.pack("d", value)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, *(bits(part) if part is not value else "" for part in value)
    if isinstance(value, fastbp.Network):
        return repr(value), value.parameters.tobytes(), repr(value.metadata)
    if isinstance(value, fastbp.History):
        return tuple((name, bits(column)) for name, column in value.items() if name != "seconds")
    if isinstance(value, Mapping):
        return tuple((repr(key), bits(part)) for key, part in value.items())
    if isinstance(value, (int, str, bytes, np.generic)):
        return type(value), value if value == value else repr(value)
    return type(value)


def _state(session):
    model = session.model
    return (
        bits(session.net),
        bits(session.history),
        None if model is None else bits({k: v for k, v in vars(model).items() if k[0] != "_"}),
    )


def _files(session):
    return sorted((p.name, p.stat().st_mtime_ns) for p in session.folder.iterdir())


def _is_finite(result):
    if isinstance(result, np.ndarray):
        return result.dtype.kind not in "fc" or bool(np.isfinite(result).all())
    if isinstance(result, float):
        return bool(np.isfinite(result))
    if isinstance(result, (list, tuple)):
        return all(map(_is_finite, result))
    if isinstance(result, fastbp.History):
        own = "validation_r2", "validation_mine"  # NaN of a constant, and the user's numbers
        return result.error is not None or all(
            np.isfinite(v).all() for k, v in result.items() if k not in own
        )
    return True


def _values(call):
    for value in call.arguments.values():
        yield value
        if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
            yield from (value if len(value) < 100 else value[:100])
        elif isinstance(value, dict):
            yield from value.values()


def _asks(call):
    """Whether a user's function is asked while it goes on."""
    own = isinstance(getattr(call.function, "__self__", None), BaseEstimator)
    if own:
        call = Call(call.function, vars(call.function.__self__))
        if call.arguments.get("scoring") is not None:
            return True
    return any(callable(value) for value in _values(call))


def _is_endless(call):
    """A run of more epochs than there is memory for: it would end when that is full."""
    epochs = call.arguments.get("epochs")
    return isinstance(epochs, int) and epochs > 10**6


def _spoils(call):
    return any(getattr(value, "kind", "") == "spoil" for value in _values(call))


# runs


def session(seed, case, folder, told=None):
    """A session of calls; returns how many, and the fault that ended it with its calls, or None."""
    d = Draws(seed, case)
    calls = []

    def tell(text):
        calls.append(text)
        if told is not None:
            told(text)

    s = Session(d, folder)
    for number in range(CALLS):
        share = d.share()
        operation = NAMES[next(i for i, w in enumerate(WEIGHTS) if share < w)]
        try:
            run(s, operation, d, tell)
        except Exception as error:
            if not isinstance(error, Fault):
                error = Fault(f"the fuzzer itself: {traceback.format_exc()}")
            return number + 1, (error, calls)
    return CALLS, None


def kind_of(error, calls):
    """By what faults are told apart: the same mistake with other numbers is one."""
    told = str(error).strip().splitlines()[-1 if "itself" in str(error) else 0]
    told = re.sub(r"(; got |, not | object has | expected one of ).*", r"\1", told)
    told = re.sub(r": '[\w.]+' object|: module .*", ": '...'", told)
    return calls[-1].partition("(")[0] if calls else "", re.sub(r"\d+", "#", told)[:130]


def work(arguments, first, at):
    """Sessions from `first` on; the number of the one at hand stands in the file `at`."""
    out, began, calls, kinds = sys.stdout, time.monotonic(), 0, {}
    sys.stdout = sys.stderr = open(os.devnull, "w")
    watched, case = 0.0, first
    with open(at, "r+b") as stream:
        place = mmap.mmap(stream.fileno(), 16)
    with tempfile.TemporaryDirectory(dir=_memory()) as name:
        os.chdir(name)  # where what is named badly is written
        while calls < arguments.count and (now := time.monotonic()) - began < arguments.budget:
            if now - watched > 1:
                faulthandler.dump_traceback_later(LONGEST, exit=True, file=sys.__stderr__)
                watched = now
            struct.pack_into("qq", place, 0, case, calls)
            made, fault = session(arguments.seed, case, _empty(Path(name)))
            calls += made
            if fault is not None:
                kind = kind_of(*fault)
                kinds[kind] = kinds.get(kind, 0) + 1
                if kinds[kind] == 1:
                    print(f"\n== seed {arguments.seed} case {case}: {fault[1][-1]}", file=out)
                    print(f"{fault[0]}", file=out, flush=True)
            case += 1
    struct.pack_into("qq", place, 0, case, calls)
    faulthandler.cancel_dump_traceback_later()
    took = time.monotonic() - began
    for (name, text), n in sorted(kinds.items(), key=lambda item: -item[1]):
        print(f"{n:6} {name}: {text}", file=out)
    print(f"{calls:,} calls, {calls / took:,.0f} a second; {len(kinds)} kinds of fault", file=out)
    return FAULTS if kinds else 0


def limit_memory():
    """Let sizes that are meant badly lack memory at once; returns the limits of before."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    return before


def _memory():
    return "/dev/shm" if os.path.isdir("/dev/shm") else None


def _empty(folder):
    for path in folder.iterdir():
        path.unlink()
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000, help="calls")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=600.0, help="seconds")
    parser.add_argument("--case", type=int, help="one session alone, told call by call")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    limit_memory()
    if arguments.case is not None:
        with tempfile.TemporaryDirectory(dir=_memory()) as name:
            os.chdir(name)
            faulthandler.dump_traceback_later(LONGEST, exit=True)
            _, fault = session(
                arguments.seed, arguments.case, Path(name), lambda text: print(text, flush=True)
            )
        if fault is not None:
            traceback.print_exception(fault[0])
        return fault is not None
    if arguments.worker is not None:
        return work(arguments, int(arguments.worker[0]), arguments.worker[1])
    # the sessions are made by a process of their own: a crash or a hang is a fault with a number
    first, code, ended = 0, 0, time.monotonic() + arguments.budget
    with tempfile.NamedTemporaryFile() as at:
        while arguments.count > 0 and (left := ended - time.monotonic()) > 0:
            at.seek(0)
            at.write(bytes(16))
            at.flush()
            command = [sys.executable, __file__, "--seed", str(arguments.seed)]
            command += ["--count", str(arguments.count), "--budget", str(left)]
            died = subprocess.run([*command, "--worker", str(first), at.name]).returncode
            code = code or died
            if died in (0, FAULTS):
                break
            case, calls = struct.unpack("qq", Path(at.name).read_bytes())
            print(f"\n== seed {arguments.seed} case {case}: the process died ({died})", flush=True)
            first, arguments.count = case + 1, arguments.count - calls
    return code


if __name__ == "__main__":
    sys.exit(main())
