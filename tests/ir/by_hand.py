"""Systems written by hand: three blocks around one repeat, without any program."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from fxsolve.ir.spec import AllSteps, Block, Invariant, Lag, LastStep, Read, Repeat, Slices, System, Write
from fxsolve.ir.tensor_spec import spec_of

T, B, N = 12, 4, 3
Step = Callable[..., tuple[Tensor, ...]]


def body(function: Step, *examples: Tensor) -> fx.GraphModule:
    """A function as the body of an equation, whose values have their specs."""
    module = make_fx(function, tracing_mode="fake")(*(example.clone() for example in examples))
    for node in module.graph.nodes:
        if isinstance(node.meta.get("val"), Tensor):
            node.meta["spec"] = spec_of(node.meta["val"])
    results: Any = module.graph.output_node().args[0]
    module.graph.output_node().args = (tuple(results),)
    return module


@dataclass(frozen=True)
class Form:
    """What a step does with the state, its own input and the weights; which of the inputs it reads, what is kept."""

    name: str
    step: Step
    arriving: bool = True
    shared: bool = True
    last: bool = False

    def __str__(self) -> str:
        return self.name

    def system(self) -> System:
        """x (T, B, N), w (N, N) -> y (B, N): inputs, weights, the repeat, and what is made of its result."""
        x, w, h = torch.zeros(T, B, N), torch.zeros(N, N), torch.zeros(B, N)
        inputs = Block("inputs", body(lambda x: (torch.sin(x),), x), ("x",), ("u",))
        weights = Block("weights", body(lambda w: (w * 0.3, w.new_full((B, N), 0.1)), w), ("w",), ("scaled", "start"))
        reads: list[tuple[Read, Tensor]] = [(Lag(0, ("start",)), h)]
        reads += [(Slices("u", 0, tuple(range(T))), h)] if self.arriving else []
        reads += [(Invariant("scaled"), w)] if self.shared else []
        write: Write = LastStep("kept", 0) if self.last else AllSteps("kept", 0)
        repeat = Repeat("cell", body(self.step, *(e for _, e in reads)), T, tuple(r for r, _ in reads), (write,))
        kept = h if self.last else x
        total = Block("total", body(lambda kept: (kept.reshape(-1, B, N).sum(0),), kept), ("kept",), ("y",))
        return System(("x", "w"), (inputs, weights, repeat, total), ("y",))


RNN = Form("rnn", lambda h, u, w: (torch.tanh(h @ w + u),))
AFFINE = Form("affine", lambda h, u, w: (h @ w + u,))
SAME = Form("same map", lambda h, w: (torch.cos(h @ w) * 0.01,), arriving=False)
ADDS = Form("sum", lambda h, u: (h + u * u,), shared=False, last=True)


def values() -> tuple[Tensor, Tensor]:
    """x and w."""
    generator = torch.Generator().manual_seed(3)
    return torch.randn(T, B, N, generator=generator), torch.randn(N, N, generator=generator)
