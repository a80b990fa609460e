"""What PyTorch lacks of ours, as modules: Scale, Exp, ScaledSoftmax, LayerNorm, Maxout.

What belongs here: these classes. What does not: which of our layers becomes which module
(torch.py). They are made when they are first asked for, so that this file imports without PyTorch;
a pickle finds them by their names here.
"""

from __future__ import annotations

from typing import Any

NAMES = ("Exp", "LayerNorm", "Maxout", "Scale", "ScaledSoftmax")


def _made() -> dict[str, Any]:
    import torch
    from torch import nn

    class Scale(nn.Module):
        """a = s x, a learned factor for each column."""

        def __init__(self, n: int, dtype: Any = None) -> None:
            super().__init__()
            self.n = n
            self.s = nn.Parameter(torch.ones(n, dtype=dtype))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.s

        def extra_repr(self) -> str:
            return f"{self.n}"

    class Exp(nn.Module):
        """a = e^x."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.exp(x)

    class ScaledSoftmax(nn.Module):
        """a = softmax(c x)."""

        def __init__(self, c: float) -> None:
            super().__init__()
            self.c = c

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax((x - x.amax(-1, keepdim=True)) * self.c, -1)

        def extra_repr(self) -> str:
            return f"{self.c}"

    class LayerNorm(nn.Module):
        """a = gain (x - mean x) / sqrt(var x + 1e-5), one gain for all, which is not learned."""

        def __init__(self, n: int, gain: float) -> None:
            super().__init__()
            self.n, self.gain = n, gain

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gain * nn.functional.layer_norm(x, (self.n,), None, None, 1e-5)

        def extra_repr(self) -> str:
            return f"{self.n}, gain={self.gain}"

    class Maxout(nn.Module):
        """a_k is the largest of the k-th so many consecutive x."""

        def __init__(self, pieces: int) -> None:
            super().__init__()
            self.pieces = pieces

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (-1, self.pieces)).amax(-1)

        def extra_repr(self) -> str:
            return f"{self.pieces}"

    found = {cls.__name__: cls for cls in (Exp, LayerNorm, Maxout, Scale, ScaledSoftmax)}
    for name, cls in found.items():
        cls.__qualname__, cls.__module__ = name, __name__
    return found


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals().update(_made())
    return globals()[name]
