"""What a backward pass reads from outside is what autograd misses once it has been written into."""

import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from fxsolve.capture.functional.needed import find_needed
from fxsolve.capture.program import Mutation, Program
from fxsolve.stages import capture

aten = torch.ops.aten


class Model(nn.Module):
    """Applies a function of the module, x and y."""

    count: Tensor

    def __init__(self, function: Callable[["Model", Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.rand(3, 3, generator=generator))
        self.bias = nn.Parameter(torch.rand(3, generator=generator))
        self.register_buffer("count", torch.ones(3))
        self.function = function

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.function(self, x, y)


def counted(model: Model, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        model.count.add_(1)
    return x * model.count + y * model.bias


PROGRAMS: dict[str, Callable[[Model, Tensor, Tensor], Tensor]] = {
    "a sum": lambda m, x, y: x + y + m.bias,
    "a product": lambda m, x, y: x * y + m.bias,
    "of one wanted only": lambda m, x, y: x * y.detach() + m.count,
    "a linear map": lambda m, x, y: nn.functional.linear(x, m.weight, m.bias) + y,
    "a view": lambda m, x, y: x.t()[0] * m.weight.view(3, 3)[1] + y,
    "a value of a view": lambda m, x, y: torch.exp(x.t()) + y[0] ** 2 * m.bias,
    "a loop": lambda m, x, y: torch.tanh(torch.tanh(x @ m.weight) @ m.weight) + y,
    "no gradient": lambda m, x, y: (x * m.bias).detach() * y,
    "a write": counted,
}


def is_missed(program: str, name: str) -> bool:
    """Whether autograd raises an error where this tensor is written into between the passes."""
    model, args = Model(PROGRAMS[program]), inputs()
    result = model(*args.values())
    with torch.no_grad():
        {**args, **dict(model.named_parameters()), **dict(model.named_buffers())}[name].mul_(2)
    try:
        result.sum().backward()
    except RuntimeError:
        return True
    return False


def inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.rand(3, 3, generator=generator).requires_grad_().clone() for name in "xy"}


def recorded(program: str) -> Program:
    return capture(Model(PROGRAMS[program]), *(value.detach().requires_grad_() for value in inputs().values()))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_needed_tensors_are_those_that_autograd_misses(name: str) -> None:
    program = recorded(name)
    found = find_needed(program.module.graph, program.roles, program.mutations)
    names = {"xy"[place] if isinstance(place, int) else place for place in found}
    others = {"x", "y", "weight", "bias", "count"} - {one.place for one in program.mutations}
    assert names == {one for one in others if is_missed(name, one)}


def test_what_the_program_itself_writes_into_is_none_of_them() -> None:
    program = recorded("a write")
    assert "count" in {one.place for one in program.mutations}
    assert "count" not in find_needed(program.module.graph, program.roles, program.mutations)


def test_a_part_of_a_tensor_is_the_tensor() -> None:
    graph = fx.Graph()
    x, cotangent = graph.placeholder("input_0"), graph.placeholder("cotangent_0")
    row = graph.call_function(operator.getitem, (graph.call_function(aten.unbind.int, (x,)), 0))
    late = graph.call_function(aten.mul.Tensor, (cotangent, graph.call_function(aten.t.default, (row,))))
    roles = {"input_0": "input", "cotangent_0": "cotangent"}
    assert find_needed(graph, roles, ()) == ()
    late.meta["backward"] = True
    assert find_needed(graph, roles, ()) == (0,)
    assert find_needed(graph, roles, [Mutation(0, 1, is_counted=True)]) == ()
    assert find_needed(graph, roles, [Mutation(0, 1, is_counted=False)]) == (0,)
