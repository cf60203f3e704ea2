"""The backward pass of a recorded run: autograd's own gradients, in tensors that the record knows."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.capture.program import Inner
from fxsolve.capture.record.backward import Pass, draw_cotangent, record_backward
from fxsolve.capture.record.dispatch import Dispatcher
from fxsolve.errors import CaptureError, SideEffectError
from tests.capture.recording import NOTHING, recorder_of, run

W = torch.rand(3, 3).requires_grad_()


def x_of() -> Tensor:
    return torch.rand(2, 3).requires_grad_()


def passed(program: Callable[[Tensor], Any], x: Tensor) -> tuple[Pass | None, tuple[Tensor, ...], Dispatcher]:
    recorder = recorder_of((x,))
    found = run(recorder, program, x)
    results = found if isinstance(found, tuple) else (found,)
    return record_backward(recorder, results, frozenset(), NOTHING), results, recorder


def inner_results(x: Tensor) -> tuple[Tensor, ...]:
    y = torch.tanh(x @ W)
    return y, x.detach(), (y * 2).exp(), W.sum()


def test_gradients_and_totals_are_autograds_and_their_calls_are_recorded() -> None:
    x = x_of()
    found, results, recorder = passed(inner_results, x)
    assert found is not None
    assert found.outputs == (0, 2, 3)
    chosen = [results[k] for k in found.outputs]
    expected = torch.autograd.grad(chosen, [x, W, results[0]], found.cotangents, retain_graph=True)
    assert all(map(torch.equal, found.found, expected))
    assert [one if isinstance(one, int) else recorder.root[one] is W for one in found.places] == [0, True]
    assert found.reached == (frozenset({0, 1}), frozenset({0, 1, 2}))
    assert found.inner == ((0, frozenset({1})),)
    assert all(recorder.find(one) is not None for one in found.found)
    assert all("backward" in recorder.node_of(one).meta for one in found.found)
    assert not recorder.backward


def test_a_given_tensor_that_is_returned_is_no_inner_result() -> None:
    x = x_of()
    found, _, _ = passed(lambda x: (x, x * 2), x)
    assert found is not None
    assert (found.outputs, found.inner) == ((0, 1), ())
    assert found.reached == (frozenset({0, 1}),)
    assert found.gradients[0] is not None
    torch.testing.assert_close(found.gradients[0], found.cotangents[0] + 2 * found.cotangents[1])


def test_numbers_of_gradients_leave_out_those_that_there_are_none() -> None:
    x = torch.zeros(2)
    found = Pass((0, 1), (0, "a", "b"), (x, x), (x, None, x), (frozenset(),) * 3, ((1, frozenset({0})),), (x,))
    numbered = found.numbered(7)
    assert numbered.gradients == (7, None, 8)
    assert numbered.inner == (Inner(1, frozenset({0}), 9),)
    assert numbered.results == len(found.found) == 3


def test_there_is_no_pass_where_nothing_wants_gradients() -> None:
    assert passed(torch.exp, torch.rand(2))[0] is None
    assert passed(lambda x: x.detach(), x_of())[0] is None
    with torch.no_grad():
        assert passed(torch.exp, x_of())[0] is None


@pytest.mark.parametrize("result", [torch.rand(3, 2).t(), torch.rand(2, 2, dtype=torch.complex64), torch.rand(())])
def test_a_cotangent_is_random_lies_as_the_result_and_leaves_the_generator_alone(result: Tensor) -> None:
    state = torch.get_rng_state()
    cotangent = draw_cotangent(result)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(cotangent, draw_cotangent(result))
    assert (cotangent.stride(), cotangent.dtype) == (result.stride(), result.dtype)
    assert len({*cotangent.flatten().tolist()}) == result.numel()


class Ends(torch.autograd.Function):
    """Gives the second of two arguments no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        return x + w.sum()

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor, None]:
        return cotangent, None


def test_a_custom_function_is_asked_where_gradients_end() -> None:
    found, _, _ = passed(lambda x: (Ends.apply(x, W), x * W[0]), x_of())
    assert found is not None
    assert found.reached == (frozenset({0, 1}), frozenset({1}))


def hooked(hook: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    def program(x: Tensor) -> Tensor:
        y = x * 2
        y.register_hook(hook)
        return y.exp()

    return program


REFUSED: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "draws": (hooked(lambda g: g * torch.rand(3)), "the backward pass draws random numbers, or writes into"),
    "writes": (hooked(lambda g: g * W.data.add_(1).sum()), "the backward pass draws random numbers, or writes into"),
    "raises": (hooked(lambda g: {}["key"]), "the backward pass cannot be recorded: KeyError: 'key'"),
    "reads unseen": (hooked(lambda g: g * g.data_ptr()), "data_ptr reads tensor values outside of torch"),
    "many": (lambda x: tuple(x := x + 1 for _ in range(18)), "17 tensors that others of its results"),
    "keeps": (lambda x: (y := x * 2, y.retain_grad())[:1], "a tensor that is to keep its gradient; ask for that after"),
    "sparse": (lambda x: nn.functional.embedding(torch.tensor([0]), x, sparse=True), "gradient of input 0 is sparse"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_backward_pass_that_does_more_than_compute_is_refused(name: str) -> None:
    program, message = REFUSED[name]
    with pytest.raises(CaptureError, match=message):
        passed(program, x_of())


def test_a_tensor_that_retains_its_gradient_is_refused() -> None:
    x = x_of() * 1
    x.retain_grad()
    with pytest.raises(CaptureError, match="input 0 retains its gradient before the call; it is no leaf"):
        passed(torch.exp, x)


def test_a_hook_from_before_the_call_is_no_part_of_the_recorded_pass() -> None:
    leaf, seen = x_of(), []
    leaf.register_hook(seen.append)
    given = leaf * 1
    given.register_hook(lambda gradient: 2 * gradient)
    for x in (leaf, given):
        program = fxsolve.capture(torch.exp, x)
        assert program.backward is not None
        products = program.module.graph.find_nodes(op="call_function", target=torch.ops.aten.mul.Tensor)
        assert len(products) == 1, "the formula of exp, and no hook"
    assert seen == []
    given.sum().backward()
    assert seen[0].eq(2).all()


def test_what_hooks_leave_behind_is_put_back() -> None:
    seen: list[int] = []
    with pytest.raises(SideEffectError, match=r"the backward pass changes seen, which outlives"):
        passed(hooked(lambda gradient: seen.append(1)), x_of())
    assert seen == []
