"""What is said to make finite numbers of finite ones does so: norms, whatever they are written of."""

import itertools
import random

import pytest
import torch
from torch import Tensor, fx

import fxsolve
from fxsolve.loops.padding.finite import makes_finite, sums_up
from fxsolve.ops import access
from fxsolve.ops.call import bind

aten = torch.ops.aten
VALUES = (0.0, -0.0, 1e-3, -1e-3, 1.0, -2.0, 3e4, -3e4)
LARGE = 1e30  # what is larger may overflow
UNARY = {
    "square": lambda x: x * x,
    "cube": lambda x: x**3,
    "pow": lambda x: x.pow(2),
    "inverse square": lambda x: x.pow(-2),
    "half": lambda x: x.pow(0.5),
    "abs": torch.abs,
    "relu": torch.relu,
    "negative": torch.neg,
    "mean": lambda x: x.mean(-1, keepdim=True),
    "sum": lambda x: x.sum(-1, keepdim=True),
    "norm": lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True),
    "largest": lambda x: x.amax(-1, keepdim=True),
    "variance": lambda x: x.var(-1, keepdim=True, unbiased=False),
    "add": lambda x: x + 1e-6,
    "add a negative": lambda x: x - 1e-6,
    "add nothing": lambda x: x + 0.0,
    "add too little": lambda x: x + 1e-320,
    "clamp": lambda x: x.clamp(min=1e-8),
    "clamp at 0": lambda x: x.clamp(min=0),
    "clamp the wrong way": lambda x: x.clamp(min=1.0, max=0.0),
    "clamp from above": lambda x: x.clamp(max=5),
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "reciprocal": torch.reciprocal,
    "exchange": lambda x: x.transpose(0, 1).transpose(0, 1),
}


def claims(program: fx.GraphModule) -> dict[str, bool]:
    """For each call, whether it is said to give finite numbers of finite ones."""
    found = {}
    for node in program.graph.find_nodes(op="placeholder"):
        found[node.name] = True
    for node in (one for one in program.graph.nodes if one.op == "call_function"):
        call = bind(node.target, node.args, node.kwargs, node.meta["spec"])
        is_pointwise, is_sum = (isinstance(call.fact.access, kind) for kind in (access.SamePlace, access.Reduced))
        is_kept = isinstance(call.fact.access, access.Permuted | access.Expanded | access.SameEntries)
        is_finite = (is_pointwise and makes_finite(call)) or (is_sum and sums_up(call)) or is_kept
        found[node.name] = is_finite and all(found[one.name] for one in node.all_input_nodes)
    return found


class Watching(fx.Interpreter):
    """Notes the calls that gave numbers that are not finite, of numbers that are not large."""

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            given = [self.env[one] for one in n.all_input_nodes]
            if not result.isfinite().all() and all(bool((one.abs() < LARGE).all()) for one in given):
                self.broken.add(n.name)
        return result

    def watch(self, x: Tensor) -> set[str]:
        self.broken: set[str] = set()
        self.run(x)
        return self.broken


def check(steps: tuple[str, ...], divides: bool) -> int:
    def program(x: Tensor) -> Tensor:
        y = x
        for name in steps:
            y = UNARY[name](y)
        return x / y if divides else y + 0

    columns = torch.tensor(list(itertools.product(VALUES, repeat=2)), dtype=torch.float64)
    with torch.no_grad():
        module = fxsolve.capture(program, columns).module
        broken, claimed = Watching(module, garbage_collect_values=False).watch(columns), claims(module)
    assert not [name for name in broken if claimed[name]], f"{steps}: {broken}"
    return sum(claimed.values())


def test_one_call_behind_another() -> None:
    for steps in itertools.islice(itertools.product(UNARY, repeat=2), 0, None, 5):  # each of them at either place
        check(steps, divides=True)


@pytest.mark.parametrize("seed", range(2))
def test_chains_of_calls(seed: int) -> None:
    choose = random.Random(seed)
    for _ in range(60):
        check(tuple(choose.choices(list(UNARY), k=choose.randint(3, 6))), choose.random() < 0.5)


@pytest.mark.parametrize(
    "steps",
    [("pow", "mean", "add", "rsqrt"), ("square", "sum", "sqrt", "clamp"), ("norm", "clamp"), ("abs", "sum", "add")],
)
def test_norms_are_known(steps: tuple[str, ...]) -> None:
    assert check(steps, divides=steps[-1] != "rsqrt") == 2 + len(steps), "every call of it, and what is given"
