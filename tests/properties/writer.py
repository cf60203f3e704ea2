"""Programs as source text: the module that all of them are, its inputs, and the writer of its lines."""

import linecache
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from textwrap import dedent, indent

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

B, T, N = 2, 6, 3  # x is (B, T, N), every state (B, N), every buffer (B, T, N)

HEAD = f"""
import torch
import torch.nn.functional as F
from torch import nn

class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, v):
        ctx.save_for_backward(v)
        return (v > 0.1).to(v.dtype)

    @staticmethod
    def backward(ctx, gradient):
        (v,) = ctx.saved_tensors
        return gradient / (1 + v.abs()) ** 2

class Program(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear({N}, {N}) for _ in range({T})])
        self.w = nn.Parameter(torch.randn({N}, {N}) / {N})
        self.register_buffer("order", torch.randperm({T}))
        self.register_buffer("mask", torch.tril(torch.ones({T}, {T}), -1))
        self.register_buffer("state", torch.zeros({B}, {N}))
        self.h = None
"""

_files = count()


def build(source: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The module that `source` describes, always with the same weights."""
    torch.manual_seed(0)
    name = f"<program {next(_files)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, type[nn.Module]] = {}
    exec(compile(source, name, "exec"), namespace)
    return namespace["Program"]().to(dtype)


def inputs(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """An input of every program."""
    return torch.randn(B, T, N, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


def module_of(body: str) -> str:
    """The source of a module whose `forward(self, x)` has this body."""
    return HEAD + "\n    def forward(self, x):\n" + indent(dedent(body).strip("\n"), " " * 8) + "\n"


@dataclass
class Writer:
    """Source lines under construction, at an indentation; `t` is the index of the innermost loop over time."""

    draw: st.DrawFn
    lines: list[str] = field(default_factory=list)
    depth: int = 2
    t: str = "t"
    fresh: int = 0

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def block(self, head: str, write: Callable[["Writer"], None]) -> None:
        self.line(head)
        self.depth += 1
        write(self)
        self.depth -= 1

    def pick(self, items: Sequence[str]) -> str:
        return self.draw(st.sampled_from(items))

    def choose(self, templates: Sequence[str], **values: str) -> None:
        """One of these lines, with the index of the loop over time for `{t}`."""
        self.line(self.pick(templates).format(t=self.t, **values))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def name(self, stem: str) -> str:
        self.fresh += 1
        return f"{stem}{self.fresh}"
