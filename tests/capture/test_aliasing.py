"""Outputs that are made anew share memory with what they shared it with in the recorded run, and no more."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from fxsolve.capture.effects.aliasing import Handed, common_bases, find_sharing, fresh_of
from fxsolve.capture.effects.routes import written_node
from fxsolve.errors import SideEffectError
from fxsolve.state.memory import storage_of
from fxsolve.state.stores import Stores
from fxsolve.state.storing import settle
from tests.capture.recording import recorder_of, run

Program = Callable[[Tensor], tuple[Tensor, ...]]


def sharing(program: Program, stored: Sequence[int], x: Tensor) -> tuple[Stores, tuple[Tensor, ...]]:
    """What a run that stores these of its outputs needs so that they are handed on, and the outputs."""
    recorder = recorder_of((x,))
    outputs = run(recorder, program, x)
    nodes = [written_node(recorder.node_of(output)) for output in outputs]
    written = frozenset(storage_of(one.external.tensor) for one in recorder.externals.written)
    handed = Handed(outputs, nodes, frozenset(stored), recorder.externals, written, has_hooks=False)
    fresh, shared = find_sharing(handed)
    return Stores(fresh=fresh, shared=shared, outputs=len(outputs)), outputs


def touched(tensors: Sequence[Tensor], number: int) -> set[int]:
    """The tensors that change when one of them is written into."""
    before = [tensor.clone() for tensor in tensors]
    tensors[number].add_(1)
    return {k for k, (one, old) in enumerate(zip(tensors, before, strict=True)) if not torch.equal(one, old)}


def rows(x: Tensor) -> tuple[Tensor, ...]:
    y = x * 2
    return y[0], y[1:], y


def twins(x: Tensor) -> tuple[Tensor, ...]:
    y = x * 2
    return y, y, y.view(-1)


def of_the_input(x: Tensor) -> tuple[Tensor, ...]:
    return x, x[1], x * 2


def parts(x: Tensor) -> tuple[Tensor, ...]:
    return (x * 2).unbind()


def halves(x: Tensor) -> tuple[Tensor, ...]:
    y = (x * 2).view(12)
    return y[:6], y[6:]


def overlapping(x: Tensor) -> tuple[Tensor, ...]:
    y = (x * 2).detach()
    return y[:2], y[1:]


def inside(x: Tensor) -> tuple[Tensor, ...]:
    y = (x * 2).detach()
    return y[:2], y[1:2], x * 3


def beside(x: Tensor) -> tuple[Tensor, ...]:
    y = x * 2
    return y, y[0], x * 3


def apart(x: Tensor) -> tuple[Tensor, ...]:
    return x * 2, (x * 3).t(), x.exp()[:, ::2]


# What runs, and the numbers of the outputs that it stores.
PROGRAMS: list[tuple[Program, tuple[int, ...]]] = [
    (rows, (2,)), (rows, (0, 1, 2)), (rows, ()), (twins, (0,)), (twins, (2,)), (of_the_input, ()), (of_the_input, (2,)),
    (parts, (0,)), (parts, (0, 2)), (halves, (0, 1)), (overlapping, ()), (inside, (1,)), (beside, ()), (apart, (1,)),
    (apart, (0, 1, 2)), (apart, (2,)),
]  # fmt: skip


@pytest.mark.parametrize(("program", "stored"), PROGRAMS)
@torch.no_grad()
def test_a_write_into_what_is_stored_or_viewed_is_seen_where_it_was_and_nowhere_else(
    program: Program, stored: tuple[int, ...]
) -> None:
    x = torch.rand(3, 4)
    stores, outputs = sharing(program, stored, x)
    common = torch.rand(100)  # what is emitted may lie anywhere, also on memory of something else
    emitted = tuple(common.as_strided(one.shape, one.stride()) for one in outputs)
    results = settle(stores, (x,), {}, emitted)
    assert [[a is b for a in results] for b in results] == [[a is b for a in outputs] for b in outputs]
    bases = {int(one.base) for one in stores.shared if one.kind == "output"}
    for number in {*stored, *bases}:
        assert touched((*results, x), number) == touched((*outputs, x), number)
        assert results[number].stride() == outputs[number].stride()


class Itself(torch.autograd.Function):
    """A view of its argument, as far as autograd may know one that does something else."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, cotangent: Tensor) -> Tensor:
        return cotangent


def of_two_types(x: Tensor) -> tuple[Tensor, ...]:
    y = (x * 2).detach()
    return y[:2], y.view(torch.int32)[0]


@pytest.mark.parametrize(
    ("program", "stored", "message"),
    [
        (lambda x: (Itself.apply(x),), (0,), "the program keeps memory of input 0; keep a clone of it"),
        (overlapping, (0, 1), "the program keeps a tensor that shares some of its entries with another; clone it"),
        (overlapping, (1,), "shares some of its entries with another"),
        (of_two_types, (0, 1), "the program keeps output 0, read as another type; keep a clone of it"),
    ],
)
def test_sharing_that_cannot_be_made_again_is_refused(program: Program, stored: tuple[int, ...], message: str) -> None:
    with pytest.raises(SideEffectError, match=message):
        sharing(program, stored, torch.rand(3, 4, requires_grad=True))


def test_tensors_that_several_outputs_are_views_of_are_found_unless_given_or_returned() -> None:
    x, y = torch.rand(2, 2), torch.rand(2, 2)
    assert [one is x for one in common_bases([x[0], x[1], x[0]], ())] == [True]
    assert common_bases([x[0], y[0]], ()) == ()
    assert common_bases([view := x[0], view], ()) == ()
    assert common_bases([x[0], x[1], x], ()) == ()
    assert common_bases([x[0], x[1]], [x.view(4)]) == ()


@pytest.mark.parametrize(
    ("tensor", "strides", "size"),
    [
        (torch.zeros(2, 3), (3, 1), 24),
        (torch.zeros(2, 3, dtype=torch.float64).t(), (1, 3), 48),
        (torch.zeros(3).expand(2, 3), (0, 1), 12),
        (torch.zeros(2, 6)[:, ::2], (6, 2), 44),
        (torch.zeros(5).as_strided((3, 3), (1, 1)), None, 20),  # entries overlap other than along whole dimensions
        (torch.zeros(0, 3), (3, 1), 0),
    ],
)
def test_how_an_output_lies_in_memory_of_its_own(tensor: Tensor, strides: tuple[int, ...] | None, size: int) -> None:
    found = fresh_of(3, tensor)
    assert found == (3, strides, False, size)
    assert fresh_of(3, tensor.requires_grad_()).wants_grad
