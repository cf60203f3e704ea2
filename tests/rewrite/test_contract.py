"""A sum over steps is its contractions added up, by einsum of what they name."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx

from fxsolve.rewrite.sums.contract import Contraction, contract, size_of
from fxsolve.stages import capture

T = 4
SHAPES = {"a": (3, 4), "b": (4, 5), "x": (3, 5), "p": (2, 3, 4), "q": (2, 4, 5), "u": (3,), "v": (4,), "c": (5,)}

# What a step adds up, and how many factors its contractions have.
VALUES: list[tuple[str, Callable[..., Tensor], list[int]]] = [
    ("ab", lambda a, b: a @ b, [2]),
    ("ab", lambda a, b: (b.t() @ a.t()).neg() * 2 / 4, [2]),
    ("pq", lambda p, q: torch.bmm(p, q).transpose(0, 2), [2]),
    ("av", lambda a, v: torch.mv(a, v), [2]),
    ("v", lambda v: torch.dot(v, v), [2]),
    ("uv", lambda u, v: u[:, None] * v, [2]),
    ("cab", lambda c, a, b: torch.addmm(c, a, b, alpha=3, beta=2), [1, 2]),
    ("cab", lambda c, a, b: torch.addmm(c, a, b).sum(0), [1, 2]),
    ("uav", lambda u, a, v: torch.addmv(u, a, v).sum(), [1, 2]),
    ("xab", lambda x, a, b: (x * (a @ b)).sum(1), [1]),  # entry by entry: cheaper to multiply out and add up
    ("x", lambda x: x * x, [1]),
    ("xc", lambda x, c: x * c, [2]),
    ("xc", lambda x, c: (x * c).sum(), [2]),
    ("xu", lambda x, u: (x * u[:, None]).mean(0, keepdim=True), [2]),
    ("p", lambda p: p.permute(2, 0, 1).sum((0, -1)), [1]),
    ("p", lambda p: p.mean((1, 2)).view(1, 2, 1).squeeze(0), [1]),
    ("x", lambda x: torch.tanh(x), [1]),
    ("ab", lambda a, b: (a @ b).exp(), [1]),
    ("ab", lambda a, b: (a @ b).reshape(15), [1]),  # a view of other dimensions is read whole
]


def summed(found: Contraction, steps: list[dict[fx.Node, Tensor]], shape: tuple[int, ...]) -> Tensor:
    """The contraction, by its definition; what no factor names is repeated."""
    own = {label for factor in found.factors for label in factor.labels}
    output = [label for label in found.output if label in own]
    total = torch.zeros((), dtype=torch.float64)
    for values in steps:
        operands = [part for factor in found.factors for part in (values[factor.node], list(factor.labels))]
        total = total + found.scale * torch.einsum(*operands, output)
    places = [size if label in own else 1 for label, size in zip(found.output, shape, strict=True)]
    return total.reshape(places).expand(shape)


@pytest.mark.parametrize(("names", "function", "factors"), VALUES, ids=range(len(VALUES)))
def test_the_contractions_of_a_value_add_up_to_its_sum(
    names: str, function: Callable[..., Tensor], factors: list[int]
) -> None:
    given = [[torch.randn(SHAPES[name], dtype=torch.float64) for name in names] for _ in range(T)]
    module = capture(function, *given[0]).module
    steps = []
    for inputs in given:
        runner = fx.Interpreter(module, garbage_collect_values=False)
        runner.run(*inputs)
        steps.append(runner.env)
    (value,) = module.graph.output_node().args[0]  # pyright: ignore
    found = contract(value)
    wanted = torch.stack([values[value] for values in steps]).sum(0)
    total = sum(summed(one, steps, tuple(wanted.shape)) for one in found)
    torch.testing.assert_close(total, wanted, rtol=1e-12, atol=1e-12)
    assert [len(one.factors) for one in found] == factors


def test_integers_are_multiplied_out_for_their_products_have_no_kernels() -> None:
    module = capture(lambda a, b: a @ b, torch.ones(3, 4).long(), torch.ones(4, 5).long()).module
    (value,) = module.graph.output_node().args[0]  # pyright: ignore
    (whole,) = contract(value)
    assert [factor.node for factor in whole.factors] == [value]
    assert [size_of(whole.factors, label) for label in whole.output] == [3, 5]
