"""What a program returns is the very tensor, or the view of it, that the original returns, whatever the grad mode."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import fxsolve

B, N, T = 2, 4, 8
Program = Callable[[Tensor, Tensor], Any]
mix = nn.Linear(N, N)
buffer = torch.randn(3, N)


def states(x: Tensor, mask: Tensor) -> Tensor:
    h, found = x[:, 0], []
    for t in range(T):
        h = torch.tanh(mix(h) + x[:, t]) * mask[:, :1]
        found.append(h)
    return torch.stack(found)


def last(x: Tensor, mask: Tensor) -> Tensor:
    h = x[:, 0]
    for t in range(T):
        h = torch.tanh(mix(h) + x[:, t]) * mask[:, :1]
    return h


def without_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x[:, 1:3]


def also(view: Callable[[Tensor, Tensor], Any]) -> Program:
    """A program that returns its last state, and something else of its arguments."""
    return lambda x, mask: (last(x, mask), view(x, mask))


def of_states(view: Callable[[Tensor], Any]) -> Program:
    """A program that returns something of all its states."""
    return lambda x, mask: view(states(x, mask))


PROGRAMS: dict[str, Program] = {
    "arguments": also(lambda x, mask: (x, mask)),
    "in a dict": lambda x, mask: {"h": last(x, mask), "more": {"mask": mask, "x": [x]}},
    "twice": also(lambda x, mask: (x, x)),
    "what the program owns": also(lambda x, mask: (mix.weight, mix.bias, buffer)),
    "views of what it owns": also(lambda x, mask: (mix.weight[1:], mix.weight.T, buffer[0])),
    "slices": also(lambda x, mask: (x[:, 2:], x[:, 2:][:, 1:], x[0])),
    "transposes": also(lambda x, mask: (mask.T, x.permute(2, 0, 1))),
    "other shapes": also(lambda x, mask: (x.reshape(x.shape), x.view(B, -1), x.unsqueeze(0).squeeze(0))),
    "itself": also(lambda x, mask: (x.contiguous(), x.to(x.dtype), x.view_as(x))),
    "expanded": also(lambda x, mask: mask[:, :1].expand(B, 7)),
    "several views": also(lambda x, mask: (x.unbind(1), x.split(2, 1), mask.chunk(2, 1))),
    "a diagonal": also(lambda x, mask: (x[0].diagonal(), x.unfold(1, 3, 1))),
    "detached": also(lambda x, mask: (x.detach(), x.detach()[:, 1:], x[:, 1:].detach())),
    "without gradients": also(lambda x, mask: (without_grad(x), mask)),
    "read as another type": also(lambda x, mask: mask if mask.requires_grad else mask.view(torch.int32)),
    "only views want gradients": lambda x, mask: (last(x, mask).detach(), x, x[0]),
    "a result twice": lambda x, mask: [last(x, mask)] * 2,
    "views of a result": of_states(lambda found: (found, found[-1], found[2:4])),
    "a view before its base": of_states(lambda found: (found[-1], found)),
    "views of a tensor that is not returned": of_states(lambda found: (found[1:5], found[3:8])),
    "a view of a view": of_states(lambda found: (found.transpose(0, 1), found.transpose(0, 1)[:, -1])),
    "a result and it detached": of_states(lambda found: (found, found.detach(), found.detach()[-1])),
    "a result and a view without gradients": of_states(lambda found: (found, without_grad(found))),
    "a result in other shapes": of_states(lambda found: (found, found.flatten(), found.view(-1, N)[0])),
}
MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "grad": torch.enable_grad,
    "grad of arguments": torch.enable_grad,
    "inference": torch.inference_mode,
}


def arguments(mode: str, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(B, T, N, generator=generator).requires_grad_(mode == "grad of arguments")
    return x, torch.rand(B, N, generator=generator).requires_grad_(mode == "grad of arguments")


def owned(given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (*given, mix.weight, mix.bias, buffer)


def facts(results: list[Tensor], given: tuple[Tensor, ...]) -> list[tuple[Any, ...]]:
    """How each result lies in memory, what it is, what it is a view of, and what it shares memory with."""
    others = (*owned(given), *results)

    def numbers(is_so: Callable[[Tensor], bool]) -> list[int]:
        return [number for number, other in enumerate(others) if is_so(other)]

    return [
        (
            (one.shape, one.stride(), one.storage_offset(), one.dtype, one.requires_grad, one.is_leaf, one._is_view()),
            numbers(lambda other, one=one: other is one),
            numbers(lambda other, one=one: one._base is other),
            numbers(lambda other, one=one: other.untyped_storage().data_ptr() == one.untyped_storage().data_ptr()),
        )
        for one in results
    ]  # fmt: skip


def compiled(program: Program) -> Any:
    return fxsolve.compile(program, schedule="gs", backend="eager")


def assert_emitted(fast: Any) -> None:
    assert fast.report().status == "emitted", fast.report().reason
    assert T in [loop.length for loop in fast.report().loops]
    assert fast.entries[-1].calls > 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_results_are_the_objects_and_views_that_the_original_returns(name: str, mode: str) -> None:
    program = PROGRAMS[name]
    with MODES[mode]():
        fast = compiled(program)
        fast(*arguments(mode, 0))
        for seed in (1, 2):
            given, own = arguments(mode, seed), arguments(mode, seed)
            results, expected = fast(*given), program(*own)
            assert pytree.tree_structure(results) == pytree.tree_structure(expected)
            results, expected = pytree.tree_leaves(results), pytree.tree_leaves(expected)
            assert facts(results, given) == facts(expected, own)
            assert all(map(torch.equal, results, expected))
            for found, right in zip(gradients(results, given), gradients(expected, own), strict=True):
                assert (found is None) == (right is None)
                if found is not None:
                    torch.testing.assert_close(found, right, rtol=1e-5, atol=1e-6)
    assert_emitted(fast)


def gradients(results: list[Tensor], given: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """Those of a loss that every result has another part in."""
    wanted = [one for one in owned(given) if one.requires_grad]
    parts = [one.square().sum() * (k + 1) for k, one in enumerate(results) if one.grad_fn is not None or one.is_leaf]
    parts = [one for one in parts if one.requires_grad]
    return (
        torch.autograd.grad(parts, wanted, [torch.ones_like(one) for one in parts], allow_unused=True) if parts else ()
    )


@pytest.mark.parametrize("mode", ["no_grad", "grad"])
@pytest.mark.parametrize("name", [name for name in PROGRAMS if "owns" not in name])
def test_writing_into_a_result_does_what_it_does_with_the_original(name: str, mode: str) -> None:
    program = PROGRAMS[name]
    with MODES[mode]():
        fast = compiled(program)
        fast(*arguments(mode, 0))
        for seed in (1, 2):
            given, own = arguments(mode, seed), arguments(mode, seed)
            results, expected = (pytree.tree_leaves(one) for one in (fast(*given), program(*own)))
            assert [overwrite(one, k) for k, one in enumerate(results)] == [
                overwrite(one, k) for k, one in enumerate(expected)
            ]
            assert all(map(torch.equal, (*given, *results), (*own, *expected)))
    assert_emitted(fast)


def overwrite(result: Tensor, number: int) -> str:
    """Write into a tensor; returns whether that is allowed."""
    try:
        result.mul_(number + 2)
    except RuntimeError as error:
        return str(error).partition(" is a view and is being modified inplace")[0]
    return "written"


def test_the_gradient_of_an_argument_is_that_of_all_that_is_made_of_it() -> None:
    program = PROGRAMS["slices"]
    fast = compiled(program)
    for seed in range(3):
        found = []
        for one in (fast, program):
            x, mask = arguments("grad of arguments", seed)
            y = x * 2  # no leaf
            _, (view, inner, row) = one(y, mask)
            (view.sum() + inner.square().sum() + row.sin().sum()).backward()
            found.append(x.grad)
        torch.testing.assert_close(*found)
    assert_emitted(fast)


def test_a_backward_of_its_own_is_not_taken_for_that_of_a_view() -> None:
    class Reversed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore
            return x.view_as(x)

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore
            return -gradient

    def program(x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return last(x, mask), Reversed.apply(x)  # pyright: ignore[reportReturnType]

    fast = compiled(program)
    for seed in range(3):
        x, mask = arguments("grad of arguments", seed)
        fast(x, mask)[1].sum().backward()
        assert torch.equal(x.grad, torch.full_like(x, -1.0))  # pyright: ignore[reportArgumentType]
    assert_emitted(fast)


def test_a_hook_of_the_program_on_a_view_sees_its_gradient() -> None:
    seen: list[Tensor] = []

    def program(x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        view = x[:, 1:]
        view.register_hook(lambda gradient: gradient * 3)
        return last(x, mask), view

    fast = compiled(program)
    for seed in range(3):
        x, mask = arguments("grad of arguments", seed)
        fast(x, mask)[1].sum().backward()
        assert isinstance(x.grad, Tensor)
        seen.append(x.grad)
        assert torch.equal(x.grad[:, 1:], torch.full((B, T - 1, N), 3.0))
    assert_emitted(fast)


def test_views_of_new_lengths_are_views_too() -> None:
    def program(x: Tensor) -> tuple[Tensor, ...]:
        h, found = x[0], []
        for x_t in x:
            h = torch.tanh(mix(h) + x_t)
            found.append(h)
        stacked = torch.stack(found)
        return stacked, x, x[2:], x[: len(x) // 2], stacked[-1], stacked[1:].flatten()

    fast = compiled(program)  # pyright: ignore[reportArgumentType]
    for length in (16, 16, 32, 32, 48, 48, 80, 80):
        x, y = torch.randn(length, B, N), torch.randn(0)
        y = x.clone()
        results, expected = [*fast(x)], [*program(y)]
        assert facts(results, (x,)) == facts(expected, (y,))
        assert all(map(torch.equal, results, expected))
        assert fast.report().status == "emitted"
    assert "tell its equations" in "".join(fast.report().notes)


def test_two_arguments_on_one_memory_are_told_apart() -> None:
    fast = compiled(also(lambda x, mask: (mask, mask[1:])))
    for _ in range(3):
        x = torch.randn(B, T, N)
        mask = x[:, 1]
        _, (same, view) = fast(x, mask)
        assert same is mask
        assert view.data_ptr() == mask[1:].data_ptr()
        assert view._base is x
    assert_emitted(fast)
