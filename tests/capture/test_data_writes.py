"""Writes through `.data`: what a program writes, and the memory that it moves tensors to, is the same at each call."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.capture.bits import same_bits
from tests.turns import in_turn

N, STEPS = 4, 6


class Cell(nn.Module):
    """A loop over the state `h`; `write` does something to the parameters and buffers before, or in, each step."""

    mask: Tensor
    mean: Tensor

    def __init__(self, write: Callable[["Cell", Tensor], Any], *, inside: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(N, N, generator=generator) / 2)
        self.other = nn.Parameter(torch.randn(N, N, generator=generator) / 2)
        self.register_buffer("mask", torch.ones(N, N).tril())
        self.register_buffer("mean", torch.zeros(N))
        self.shadow = {"weight": torch.randn(N, N, generator=generator) / 2}
        self.kept: Any = None
        self.write, self.inside = write, inside

    def forward(self, x: Tensor) -> Any:
        h = x
        extra = None if self.inside else self.write(self, h)
        for _ in range(STEPS):
            if self.inside:
                extra = self.write(self, h)
            h = torch.tanh(h @ self.weight + self.other[0] + self.mean)
        return (h, extra) if isinstance(extra, Tensor) else h


def swap(cell: Cell, _: Tensor) -> None:
    cell.weight.data, cell.other.data = cell.other.data, cell.weight.data


def swap_with_shadow(cell: Cell, _: Tensor) -> None:
    cell.shadow["weight"], cell.weight.data = cell.weight.data, cell.shadow["weight"]


def set_data(name: str, value: Callable[[Cell, Tensor], Tensor]) -> Callable[[Cell, Tensor], None]:
    def write(cell: Cell, h: Tensor) -> None:
        getattr(cell, name).data = value(cell, h)

    return write


def set_and_return(cell: Cell, h: Tensor) -> Tensor:
    value = h.detach().mean(0) * 0.1
    cell.mean.data = value
    return value


def set_and_return_part(cell: Cell, h: Tensor) -> Tensor:
    value = h.detach() * 0.1
    cell.mean.data = value[1]
    return value


def return_itself(cell: Cell, h: Tensor) -> Tensor:
    cell.mean.data = h.detach().mean(0)
    return cell.mean


def return_old_memory(cell: Cell, h: Tensor) -> Tensor:
    old = cell.mean.data
    cell.mean.data = old * 0.5 + h.detach().mean(0)
    return old


def write_into_old_memory(cell: Cell, h: Tensor) -> Tensor:
    old = cell.mean.data
    cell.mean.data = old * 0.5 + 0.1
    old.add_(h.detach().mean(0))
    return old


def write_into_new_memory(cell: Cell, h: Tensor) -> None:
    value = h.detach().mean(0)
    cell.mean.data = value
    value.mul_(0.5)
    cell.mean.add_(1)


def write_before_and_after(cell: Cell, h: Tensor) -> None:
    cell.mean.add_(h.detach().mean(0))
    cell.mean.data = cell.mean * 0.5
    cell.mean.mul_(0.5)


def keep_and_set(cell: Cell, h: Tensor) -> None:
    cell.kept = h.detach().mean(0)
    cell.mean.data = cell.kept


def borrow_and_write(cell: Cell, _: Tensor) -> None:
    cell.weight.data = cell.other.data
    with torch.no_grad():
        cell.weight.mul_(0.9)


def set_twice(cell: Cell, h: Tensor) -> None:
    before = cell.mean.data
    cell.mean.data = h.detach().mean(0)
    cell.mean.data = before


def set_temporary(cell: Cell, h: Tensor) -> Tensor:
    value = h.detach() * 2
    view = value[0]
    value.data = value * 3
    value.add_(1)
    return view + value[1]


def share_temporary(cell: Cell, h: Tensor) -> Tensor:
    one, two = torch.zeros(N), h.detach().sum(0)
    one.data = two
    one.mul_(0.5)
    return one + two


def multiply_in_place(cell: Cell, _: Tensor) -> None:
    cell.weight.data *= cell.mask


WRITES: dict[str, Callable[[Cell, Tensor], Any]] = {
    "data *=": multiply_in_place,
    "data.mul_": lambda cell, h: cell.weight.data.mul_(cell.mask),
    "data = data * mask": set_data("weight", lambda cell, h: cell.weight.data * cell.mask),
    "data = weight * mask": set_data("weight", lambda cell, h: cell.weight * cell.mask),
    "data = data.t()": set_data("weight", lambda cell, h: cell.weight.data.t()),
    "data = other": set_data("weight", lambda cell, h: cell.other),
    "data = other.data": set_data("weight", lambda cell, h: cell.other.data),
    "ema": set_data("other", lambda cell, h: 0.9 * cell.other.data + 0.1 * cell.weight.data),
    "data = state": set_data("mean", lambda cell, h: h.detach().mean(0)),
    "data = view of an input": set_data("mean", lambda cell, h: h.detach()[0]),
    "data = literal": set_data("mean", lambda cell, h: torch.tensor([0.1, 0.2, 0.3, 0.4])),
    "data = randn": set_data("mean", lambda cell, h: torch.randn(N)),
    "data = data.clone()": set_data("mean", lambda cell, h: cell.mean.data.clone()),
    "roll": set_data("mean", lambda cell, h: (cell.mean.data + h.detach()[0]).roll(1)),
    "data.copy_": lambda cell, h: cell.mean.data.copy_(h.detach()[0]),
    "data[...] =": lambda cell, h: cell.weight.data.__setitem__(cell.mask == 0, 0.0),
    "data.clamp_": lambda cell, h: cell.weight.data.clamp_(-0.3, 0.3),
    "detach().mul_": lambda cell, h: cell.weight.detach().mul_(0.9),
    "data = expanded": set_data("mean", lambda cell, h: h.detach()[0, :1].expand(N)),
    "swap": swap,
    "swap with a shadow": swap_with_shadow,
    "set and return": set_and_return,
    "set and return a part": set_and_return_part,
    "return itself": return_itself,
    "return old memory": return_old_memory,
    "write into old memory": write_into_old_memory,
    "write into new memory": write_into_new_memory,
    "write before and after": write_before_and_after,
    "keep and set": keep_and_set,
    "borrow and write": borrow_and_write,
    "set twice": set_twice,
    "set a temporary": set_temporary,
    "share a temporary": share_temporary,
}
# Autograd refuses to differentiate a step whose weight was written into, seen by it, in a later one.
UNCOUNTED = [name for name in WRITES if name not in ("detach().mul_", "borrow and write")]


def memory_of(cell: Cell, result: Any, x: Tensor) -> list[int]:
    """For each tensor, the number of the first one whose entries lie on the same memory."""
    results = result if isinstance(result, tuple) else (result,)
    tensors = (*results, cell.weight, cell.other, cell.mean, cell.mask, *cell.shadow.values(), x)
    storages = [tensor.untyped_storage().data_ptr() for tensor in (*tensors, *filter(torch.is_tensor, [cell.kept]))]
    return list(map(storages.index, storages))


def state_of(cell: Cell) -> list[Tensor]:
    state = [cell.weight, cell.other, cell.mean, cell.mask, cell.shadow["weight"]]
    return [*state, *filter(torch.is_tensor, [cell.kept])]


@pytest.mark.parametrize(
    ("name", "inside", "grad"),
    [*in_turn(WRITES, [False, True], [False]), *in_turn(UNCOUNTED, [True, False], [True])],
)
def test_every_write_through_data_leaves_what_the_program_leaves(name: str, grad: bool, inside: bool) -> None:
    theirs = Cell(WRITES[name], inside=inside)
    ours = copy.deepcopy(theirs)
    objects = [ours.weight, ours.other, ours.mean]
    fast = fxsolve.compile(ours, backend="eager", schedule="gs")
    x = torch.randn(3, N, generator=torch.Generator().manual_seed(1))
    for call in range(5):
        torch.manual_seed(call)
        with torch.set_grad_enabled(grad):
            expected = theirs(x)
        torch.manual_seed(call)
        with torch.set_grad_enabled(grad):
            result = fast(x)
        pairs = zip(result, expected, strict=True) if isinstance(result, tuple) else [(result, expected)]
        assert all(same_bits(one, other) for one, other in pairs)
        assert all(map(same_bits, state_of(ours), state_of(theirs)))
        assert memory_of(ours, result, x) == memory_of(theirs, expected, x)
        if grad:
            total, other = (value[0] if isinstance(value, tuple) else value for value in (result, expected))
            for one in (ours, theirs):
                one.zero_grad()
            total.sum().backward()
            other.sum().backward()
            for one, two in ((ours.weight.grad, theirs.weight.grad), (ours.other.grad, theirs.other.grad)):
                assert one is not None
                assert two is not None
                assert torch.equal(one, two)
        x = x + 0.1
    assert all(one is other for one, other in zip([ours.weight, ours.other, ours.mean], objects, strict=True))
    assert fast.report().status == "emitted", fast.report().reason


def rolled(h: Tensor, weight: Tensor) -> Tensor:
    for _ in range(STEPS):
        h = torch.tanh(h @ weight)
    return h


def descend(params: list[Tensor], h: Tensor) -> Tensor:
    h = rolled(h, params[0])
    for param in params:
        param.data = param.data - 0.1 * h.mean()
    return h


def exchange(params: list[Tensor], h: Tensor) -> Tensor:
    params[0].data, params[1].data = params[1].data, params[0].data
    return rolled(h, params[0])


def shrink(params: list[Tensor], h: Tensor) -> Tensor:
    params[1].data = rolled(h, params[0])[:1]
    return params[1] + 1


def change_type(params: list[Tensor], h: Tensor) -> Tensor:
    params[1].data = rolled(h, params[0]).double()
    return params[1].float() + 1


@pytest.mark.parametrize("verify", ["first", "always"])
@pytest.mark.parametrize("program", [descend, exchange, shrink, change_type])
def test_arguments_are_moved_to_other_memory(program: Callable[..., Tensor], verify: str) -> None:
    fast = fxsolve.compile(program, backend="eager", schedule="gs", verify=verify)
    for call in range(4):
        torch.manual_seed(call)
        theirs, h = [torch.randn(N, N), torch.randn(N, N)], torch.randn(3, N)
        ours, before = [param.clone() for param in theirs], [param.untyped_storage().data_ptr() for param in theirs]
        pointers = [param.data_ptr() for param in ours]
        versions = [param._version for param in ours]
        assert same_bits(fast(ours, h), program(theirs, h))
        assert all(map(same_bits, ours, theirs))
        moved = [param.untyped_storage().data_ptr() for param in theirs]
        assert [ptr in pointers for ptr in (param.data_ptr() for param in ours)] == [ptr in before for ptr in moved]
        assert [param._version for param in ours] == versions
    assert fast.report().status == "emitted", fast.report().reason
    assert any("sets the data of" in note for note in fast.report().notes)


@pytest.mark.parametrize("inference", [False, True])
def test_a_cache_that_grows_by_setting_its_data_grows_as_in_the_program(inference: bool) -> None:
    class Growing(nn.Module):
        cache: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("cache", torch.zeros(0, N))

        def forward(self, x: Tensor) -> Tensor:
            self.cache.data = torch.cat([self.cache, x])
            return rolled(x, torch.eye(N) * 0.5) + self.cache.sum(0)

    theirs, ours = Growing(), Growing()
    fast = fxsolve.compile(ours, backend="eager", schedule="gs")
    for _ in range(5):
        x = torch.randn(2, N)
        with torch.inference_mode(inference):
            assert same_bits(fast(x), theirs(x))
        assert same_bits(ours.cache, theirs.cache)


def test_a_parameter_that_changes_its_shape_under_gradients_is_left_alone() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            if not self.scale.dim():
                self.scale.data = x.std(0)
            return rolled(x * self.scale, torch.eye(N) * 0.5)

    theirs, ours, x = Lazy(), Lazy(), torch.randn(3, N)
    fast = fxsolve.compile(ours, backend="eager", schedule="gs")
    for call in range(3):
        result, expected = fast(x), theirs(x)
        assert same_bits(result, expected)
        result.sum().backward()
        expected.sum().backward()
        assert ours.scale.grad is not None
        assert theirs.scale.grad is not None
        assert torch.equal(ours.scale.grad, theirs.scale.grad)
        assert (fast.report().status == "left alone") == (call == 0)
        assert call or fast.report().reason == "the program makes param scale another kind of tensor."


def test_the_data_of_a_view_that_gradients_flow_through_is_not_set() -> None:
    weight = torch.randn(N, N, requires_grad=True)

    def program(x: Tensor, scaled: Tensor) -> Tensor:
        scaled.data = x @ x.t()
        return rolled(x.t(), scaled)

    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    x, one, two = torch.randn(N, N), weight * 2, weight * 2
    assert same_bits(fast(x, one), program(x, two))
    assert same_bits(one, two)
    assert "sets the data of input 1" in fast.report().reason


def test_the_result_of_a_first_call_that_writes_into_a_parameter_has_gradients() -> None:
    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(N, N, generator=torch.Generator().manual_seed(0)))

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.weight.clamp_(-1, 1)
            return rolled(x, self.weight)

    theirs, ours = Bounded(), Bounded()
    fast = fxsolve.compile(ours, backend="eager", schedule="gs")
    for _ in range(3):
        x = torch.randn(3, N)
        fast(x).sum().backward()
        theirs(x).sum().backward()
        assert ours.weight.grad is not None
        assert theirs.weight.grad is not None
        assert torch.allclose(ours.weight.grad, theirs.weight.grad)
        assert ours.weight._version == theirs.weight._version
    assert fast.report().status == "emitted"
