"""`to_c`: a network as one C99 file.

What belongs here: constants, the walk over layers, the test vector, what the file takes. What does
not: formulas (functions.py), layers (stack.py).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from fastbp import functions, inputs
from fastbp.exchange.c.functions import ELEMENTWISE, written
from fastbp.exchange.stack import Layer, OneNetwork, layers_of, network_of
from fastbp.files.replace import check_destination, replace
from fastbp.functions import shown
from fastbp.network import Network

ULP = 4  # by how much the test vector's outputs may be off
# numbers of the arrays on the stack of a link or an activation: sums side by side
LANES = {"dot": 16, "softmax": 16, "log_softmax": 16, "layer_norm": 32}
BLOCK = 1 << 16  # numbers of which text is made at once: it takes twenty times the room of theirs
MEASURED = 1 << 20  # bytes of constants up to which a compiler is asked for the size of all
SECONDS = 120  # that a compiler is given to tell the size of its code

_TYPES = {"float32": ("float", "uint32_t", "f"), "float64": ("double", "uint64_t", "")}


@dataclass(frozen=True)
class CSource:
    """A C file that `to_c` wrote, and what it takes.

    Attributes
    ----------
    path : pathlib.Path
        The file.
    name : str
        Of its functions: NAME_predict and NAME_self_test.
    n_inputs, n_outputs : int
        Numbers that NAME_predict reads, and that it writes.
    constants : int
        Bytes of parameters, in flash.
    test : int
        Bytes of the test vector, which is left out where NAME_self_test is not called and the
        linker drops functions (-ffunction-sections, --gc-sections).
    ram : int
        Bytes of NAME_predict's arrays, all of them on the stack.

    Examples
    --------
    >>> import fastbp, os, tempfile
    >>> from fastbp.exchange import to_c
    >>> net = fastbp.Network([2, 3, 1], output="identity", loss="mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = to_c(net, os.path.join(folder, "model.c"), name="price")
    >>> made.name, made.path.name, made.constants
    ('price', 'model.c', 52)
    """

    path: Path
    name: str
    n_inputs: int
    n_outputs: int
    constants: int
    test: int
    ram: int

    def flash(self) -> int | None:
        """Measure code and constants as this machine's compiler makes them (-Os).

        Returns
        -------
        int or None
            Bytes; None where there is no compiler, or no `size`, or where constants take more than
            1 MiB, on which compilers spend minutes and gigabytes.
        """
        compiler, size = shutil.which("cc") or shutil.which("gcc"), shutil.which("size")
        if compiler is None or size is None or self.constants > MEASURED:
            return None
        with tempfile.TemporaryDirectory() as folder:
            made = os.path.join(folder, "model.o")
            command = [compiler, "-std=c99", "-Os", "-c", str(self.path), "-o", made]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
                told = subprocess.run(
                    [size, made], check=True, capture_output=True, text=True, timeout=SECONDS
                ).stdout
                text, data = told.splitlines()[1].split()[:2]
                return int(text) + int(data)
            except (OSError, subprocess.SubprocessError, ValueError, IndexError):
                return None

    def to_dict(self) -> dict[str, Any]:
        """Give all of it in the types of JSON.

        Returns
        -------
        dict
            By name; "flash" is what `flash` gives.
        """
        return {
            "path": str(self.path), "name": self.name, "n_inputs": self.n_inputs,
            "n_outputs": self.n_outputs, "constants": self.constants, "test": self.test,
            "ram": self.ram, "flash": self.flash(),
        }  # fmt: skip

    def __str__(self) -> str:
        flash = self.flash()
        code = "that of code not measured" if flash is None else f"{flash:,} with code, -Os"
        return (
            f"{self.path}: {self.name}_predict, {self.n_inputs} -> {self.n_outputs}; flash: "
            f"{self.constants:,} bytes of constants ({code}); RAM: {self.ram:,} bytes of arrays "
            "on the stack"
        )


def to_c(
    model: OneNetwork, path: str | os.PathLike[str], *, name: str = "model", header: bool = False
) -> CSource:
    """Write a network as one C99 file, which needs math.h alone and takes no heap.

    The file has ``void NAME_predict(const T *x, T *y)``, T being float or double as the network's
    dtype is, and ``int NAME_self_test(void)``, which gives 0 where the outputs of a test vector are
    within 4 units in the last place of fastbp's, else how many are not. x and y may not overlap.

    Parameters
    ----------
    model : Network, or fitted MLPClassifier or MLPRegressor of one network
        What is written; of an estimator its `network_`.
    path : str or path-like
        A file of that name is replaced, whole.
    name : str, default "model"
        What the functions' names begin with.
    header : bool, default False
        Also write a header beside it, "model.h" of "model.c".

    Returns
    -------
    CSource
        What the file takes: bytes of constants and of stack.

    Raises
    ------
    TypeError, ValueError
        No network, an ensemble, parameters that are not finite, a name that C does not take.
    OSError
        The file could not be written; one that was there is as it was.

    Notes
    -----
    The functions are the engine's, term by term: outputs have the bits of `Network.predict` here,
    where the compiler keeps to C's rules (-std=c99, no -ffast-math). Written on a CPU with FMA, the
    file calls `fma` of math.h. Let the compiler know that its CPU has the instruction (-mfma or
    -march=native on x86): as a call of the library it takes ten times as long and more. Written
    under ``FASTBP_ISA=baseline`` on x86, it multiplies and adds.

    Examples
    --------
    >>> import fastbp, os, tempfile
    >>> from fastbp.exchange import to_c
    >>> net = fastbp.Network([2, 3, 1], output="identity", loss="mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = to_c(net, os.path.join(folder, "model.c"))
    >>> made.constants, made.n_inputs, made.n_outputs
    (52, 2, 1)
    """
    net = network_of(model)
    path = inputs.as_path(path, "path")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise ValueError(f"name: expected letters, digits and _, a letter first; got {shown(name)}")
    with_header = inputs.as_flag(header, "header")
    beside = path.with_suffix(".h")
    if with_header:
        if beside == path:
            raise ValueError(f"path: expected a .c file beside the header; got {str(path)!r}")
        check_destination(beside, "path")
    source = _Source(net, name)
    replace(path, (part.encode() for part in source.text()))
    if with_header:
        replace(beside, source.header().encode())
    return CSource(
        path, name, net.sizes[0], net.sizes[-1], net.n_parameters * net.dtype.itemsize,
        (net.sizes[0] + net.sizes[-1]) * net.dtype.itemsize, source.ram(),
    )  # fmt: skip


class _Source:
    """The parts of the file."""

    def __init__(self, net: Network, name: str) -> None:
        self.net, self.name, self.layers = net, name, layers_of(net)
        self.type, self.bits, self.suffix = _TYPES[net.dtype.name]
        self.is_single = net.dtype.name == "float32"
        self.fuses = _fuses(net.dtype)
        self.room = {"u": 0, "v": 0}  # arrays that activations lie in, by turns
        self.body = list(self._steps())
        self.x, self.y = _test_vector(net)

    def ram(self) -> int:
        lanes = (LANES.get(of, 0) for x in self.layers for of in (_link(x), x.sigma.kind))
        return (sum(self.room.values()) + max(lanes)) * self.net.dtype.itemsize

    def text(self) -> Iterator[str]:
        needs = dict.fromkeys(_link(layer) for layer in self.layers)
        kinds = {
            layer.sigma.kind: functions.takes_parameter(layer.sigma.kind)
            for layer in self.layers
            if layer.sigma.kind != "identity"
        }
        tools = written(needs, kinds, self.is_single, self.fuses)
        yield f"{self._opening()}{tools}"
        for layer in self.layers:
            for letter, tensor in layer.tensors.items():
                yield from self._array(f"{letter}{layer.number}", tensor)
        arrays = "".join(f"    real {v}[{n}];\n" for v, n in self.room.items() if n)
        yield (
            f"\nvoid {self.name}_predict(const {self.type} *x, {self.type} *y)\n"
            f"{{\n{arrays}{''.join(self.body)}}}\n"
        )
        yield from self._test()

    def header(self) -> str:
        guard = f"{self.name.upper()}_H"
        return (
            f"/* {self._about()} */\n#ifndef {guard}\n#define {guard}\n\n"
            f"enum {{ {self.name}_n_inputs = {self.net.sizes[0]}, {self.name}_n_outputs = "
            f"{self.net.sizes[-1]} }};\n\n"
            '#ifdef __cplusplus\nextern "C" {\n#endif\n'
            f"{self._prototypes()}"
            "#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
        )

    def _about(self) -> str:
        import fastbp

        sizes = "-".join(map(str, [self.net.sizes[0], *(layer.n_out for layer in self.layers)]))
        names = ", ".join(layer.sigma.name for layer in self.layers)
        return f"A network {sizes} ({names}), {self.net.dtype}; by fastbp {fastbp.__version__}."

    def _prototypes(self) -> str:
        return (
            f"/* x: {self.net.sizes[0]} numbers, y: {self.net.sizes[-1]}; they may not overlap */\n"
            f"void {self.name}_predict(const {self.type} *x, {self.type} *y);\n"
            f"/* 0 where a test vector's outputs are right to {ULP} units in the last place */\n"
            f"int {self.name}_self_test(void);\n"
        )

    def _opening(self) -> str:
        f = self.suffix
        paste = "x##f" if f else "x"
        fast, fma = "", "FMA(a, b, c) ((a) * (b) + (c))"
        if self.fuses:
            fast = " Fast where the compiler knows of an FMA instruction (-mfma)."
            fma = f"FMA fma{f}"
        return (
            f"/* {self._about()}\n *\n * C99; needs math.h (-lm). For the bits of fastbp: no "
            "-ffast-math, no contraction of a * b + c\n * (-std=c99 or -ffp-contract=off)."
            f"{fast} */\n"
            "#include <math.h>\n#include <stdint.h>\n\n"
            "#ifdef __clang__\n#pragma STDC FP_CONTRACT OFF\n#endif\n\n"
            f"{self._prototypes()}\n"
            f"typedef {self.type} real;\ntypedef {self.bits} unsigned_real;\n"
            f"#define R(x) {paste}\n#define {fma}\n#define ABS fabs{f}\n"
            f"#define SQRT sqrt{f}\n#define COPYSIGN copysign{f}\n"
        )

    def _number(self, x: SupportsFloat) -> str:
        return f"{float(x).hex()}{self.suffix}"

    def _array(self, name: str, values: np.ndarray) -> Iterator[str]:
        flat = values.ravel()
        yield f"\nstatic const real {name}[{len(flat)}] = {{"
        for start in range(0, len(flat), BLOCK):
            numbers = [self._number(x) for x in flat[start : start + BLOCK].tolist()]
            rows = (", ".join(numbers[i : i + 4]) for i in range(0, len(numbers), 4))
            yield f"{',' * (start > 0)}\n    " + ",\n    ".join(rows)
        yield "\n};\n"

    def _take(self, n: int, *used: str) -> str:
        """An array of n numbers other than those that are read."""
        free = next(v for v in self.room if v not in used)
        self.room[free] = max(self.room[free], n)
        return free

    def _steps(self) -> Iterator[str]:
        """Statements; the last layer's outputs go to y."""
        a = "x"
        if any(layer.sigma.kind in ELEMENTWISE and layer.sigma.kind != "identity"
               for layer in self.layers):  # fmt: skip
            yield "    int j;\n"
        for layer in self.layers:
            last = layer is self.layers[-1]
            coupled = _is_coupled(layer)
            z = "y" if last and not coupled else self._take(layer.n_z, a)
            yield self._linked(layer, a, z)
            a = z
            kind, p = layer.sigma.kind, ""
            if functions.takes_parameter(kind):
                p = f", {self._number(self.net.dtype.type(layer.sigma.parameter))}"
            if coupled:
                a = "y" if last else self._take(layer.n_out, z)
                yield f"    {kind}_of({z}, {layer.n_out}{p}, {a});\n"
            elif kind != "identity":
                yield (f"    for (j = 0; j < {layer.n_out}; j++) {z}[j] = {kind}_of({z}[j]{p});\n")

    def _linked(self, layer: Layer, a: str, z: str) -> str:
        names = ", ".join(f"{letter}{layer.number}" for letter in layer.tensors)
        link = _link(layer)
        n = "" if link == "scale" else f"{layer.n_z}, "
        return f"    {link}({a}, {layer.n_in}, {names}, {n}{z});\n"

    def _test(self) -> Iterator[str]:
        n = len(self.y)
        yield from self._array("test_x", self.x)
        yield from self._array("test_y", self.y)
        yield (
            "\n/* a number's place among all of its type, in order */\n"
            "static int64_t place(real x)\n{\n"
            "    union { real x; unsigned_real u; } v;\n    v.x = ABS(x);\n"
            "    return x < R(0.0) ? -(int64_t)v.u : (int64_t)v.u;\n}\n\n"
            f"int {self.name}_self_test(void)\n{{\n"
            f"    real y[{n}];\n    int j, wrong = 0;\n"
            f"    {self.name}_predict(test_x, y);\n"
            f"    for (j = 0; j < {n}; j++) {{\n"
            "        const int64_t above = place(y[j]), found = place(test_y[j]);\n"
            f"        const int within = above <= found + {ULP} && found <= above + {ULP};\n"
            "        wrong += !(y[j] == y[j] && within);\n    }\n    return wrong;\n}\n"
        )


def _fuses(dtype: np.dtype[Any]) -> bool:
    """Whether the engine in use rounds a b + c once, as it does itself tell."""
    net = Network([1, 1], output="identity", loss="mse", dtype=dtype, init="zeros")
    x = 1 + np.finfo(dtype).eps * 2 ** (np.finfo(dtype).nmant // 2 - 1)  # its square needs more
    net.weights[0][...], net.biases[0][...] = x, -(x * x)
    return bool(net.predict([[x]])[0, 0] != 0)


def _is_coupled(layer: Layer) -> bool:
    return layer.sigma.kind not in ELEMENTWISE


def _link(layer: Layer) -> str:
    return "scale" if "s" in layer.tensors else "dot" if layer.is_dot else "dense"


def _test_vector(net: Network) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and their outputs, finite where some are."""
    draws = np.random.default_rng(0).standard_normal(net.sizes[0]).astype(net.dtype)
    for x in (draws, np.zeros_like(draws)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            y = net.predict(x[None])[0]
        if np.isfinite(y).all():
            return x, y
    raise ValueError(
        f"model: expected finite outputs of the input 0, which the test vector has; got {shown(y)}"
    )
