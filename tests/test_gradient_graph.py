"""From outside, a compiled program is a part of autograd's graph as the original is."""

import gc
import weakref
from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.errors import GradientError
from tests.cells import BATCH, HIDDEN, Dropped, LstmCell, Spiking, Tanh, assert_close, assert_emitted, inputs, pair

Use = Callable[[Any, Tensor], list[Tensor | None]]


def compare(cell: Callable[[], nn.Module], use: Use, rtol: float = 1e-10) -> Any:
    """`use` of a compiled cell gives what it gives of an untouched copy, three times; returns the compiled one."""
    fast, original = pair(cell)
    for seed in range(3):
        x, found = inputs(), []
        for model in (fast, original):
            model.zero_grad()
            torch.manual_seed(seed)
            leaf = x.clone().requires_grad_()
            found.append([*use(model, leaf), leaf.grad, *(p.grad for p in model.parameters())])
        assert_close(*found, rtol)
    return fast


def hook_on_last(model: Any, x: Tensor) -> list[Tensor | None]:
    states, last = model(x)
    seen: list[Tensor | None] = []
    last.register_hook(lambda gradient: (seen.append(gradient.clone()), 3 * gradient)[1])
    (states.square().sum() + last.sum()).backward()
    return seen


def retained(model: Any, x: Tensor) -> list[Tensor | None]:
    states, last = model(x)
    states.retain_grad()
    last.retain_grad()
    (states.square().sum() + last.sum()).backward()
    return [states.grad, last.grad]


def retained_of_one(model: Any, x: Tensor) -> list[Tensor | None]:
    states, last = model(x)
    last.retain_grad()
    states.square().sum().backward()
    return [last.grad]


def one_output_by_another(model: Any, x: Tensor) -> list[Tensor | None]:
    states, last = model(x)
    return [*torch.autograd.grad(states.square().sum() + last.sum(), [last, x, model.W])]


def one_output_by_another_alone(model: Any, x: Tensor) -> list[Tensor | None]:
    states, last = model(x)
    return [*torch.autograd.grad(states.square().sum(), [last])]


def some_gradients(model: Any, x: Tensor) -> list[Tensor | None]:
    states, last = model(x)
    (states.square().sum() + last.sum()).backward(inputs=[model.U])
    return []


def second_derivative_by_an_output(model: Any, x: Tensor) -> list[Tensor | None]:
    states, last = model(x)
    (gradient,) = torch.autograd.grad(states.square().sum(), last, create_graph=True)
    gradient.square().sum().backward()
    return [gradient]


@pytest.mark.parametrize(
    "use",
    [
        hook_on_last,
        retained,
        retained_of_one,
        one_output_by_another,
        one_output_by_another_alone,
        some_gradients,
        second_derivative_by_an_output,
    ],
)
def test_an_output_that_others_were_computed_from_has_its_whole_gradient(use: Use) -> None:
    assert_emitted(compare(Tanh, use))


class Chain(nn.Module):
    """Three outputs, each computed from the one before, and from the first."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.scale = Tanh(), nn.Parameter(torch.rand(HIDDEN))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, first = self.rnn(x)
        second = torch.sin(first * self.scale)
        return first, second, (second * first).sum(-1)


@pytest.mark.parametrize("chosen", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_chains_of_outputs_add_up(chosen: tuple[int, ...]) -> None:
    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        outputs = model(x)
        for number in chosen:
            outputs[number].register_hook(lambda gradient: gradient * 1.5)
        sum(output.square().sum() for output in outputs).backward()
        found = model(x)
        wanted = [found[number] for number in chosen]
        total = sum((k + 1) * output.square().sum() for k, output in enumerate(found))
        return [*torch.autograd.grad(total, [*wanted, model.scale])]  # pyright: ignore[reportArgumentType]

    assert_emitted(compare(Chain, use))


class Many(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = Tanh()

    def forward(self, x: Tensor) -> list[Tensor]:
        states, h = [], x.new_zeros(x.shape[0], HIDDEN)
        for t in range(2 * x.shape[1]):
            h = torch.tanh(h @ self.rnn.W + x[:, t // 2] @ self.rnn.U)
            states.append(h)
        return states


def test_many_outputs_computed_from_one_another_are_left_to_the_original() -> None:
    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        states = model(x)
        return [*torch.autograd.grad(sum(h.sum() for h in states), [states[0], x])]

    assert "others of its results were computed from, more than 16; stack them" in compare(Many, use).report().reason


class Unused(nn.Module):
    """The derivative of the second output is infinite; a hook normalizes that of the third."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = Tanh()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, last = self.rnn(x)
        doubled = 2 * last
        if doubled.requires_grad:
            doubled.register_hook(lambda gradient: gradient / gradient.norm())
        return last, (last - last.detach()).sqrt(), doubled


@pytest.mark.parametrize("used", [(0,), (2,), (0, 2)])
def test_outputs_that_are_not_used_add_nothing(used: tuple[int, ...]) -> None:
    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        outputs = model(x)
        sum(outputs[number].sum() for number in used).backward()
        return []

    assert_emitted(compare(Unused, use))


class Returned(nn.Module):
    """Returns what it was given, a parameter, a view of another result, and one result twice."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = Tanh()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        states, last = self.rnn(x)
        return states, states[:, -1], x, self.rnn.W, last, last


class TwoBack(nn.Module):
    """Its last two states are given out one by one: the backward loop starts from both."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.V = Tanh(), nn.Parameter(torch.randn(HIDDEN, HIDDEN) * 0.4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = last = x.new_zeros(x.shape[0], HIDDEN)
        states = []
        for t in range(x.shape[1]):
            before, last = last, torch.tanh(last @ self.rnn.W + before @ self.V + x[:, t] @ self.rnn.U)
            states.append(last)
        return torch.stack(states), before, last


@pytest.mark.parametrize("cell", [Tanh, LstmCell, Spiking, TwoBack, Chain, Returned])
@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_the_calls_of_unused_outputs_are_left_out(cell: Callable[[], nn.Module], schedule: str) -> None:
    fast, original = pair(cell, schedule=schedule)
    fast(inputs().requires_grad_())
    count = len(original(inputs()))
    chosen = [set(some) for size in range(1, count) for some in combinations(range(count), size)]
    for used in chosen[:8]:
        x, found = inputs(), []
        for model in (fast, original):
            model.zero_grad()
            leaf = x.clone().requires_grad_()
            sum(output.square().sum() for k, output in enumerate(model(leaf)) if k in used).backward()
            found.append([leaf.grad, *(p.grad for p in model.parameters())])
        assert_close(*found, 1e-10)
    assert_emitted(fast)
    learned = fast._runtime.latest.entry.ready.emitted.learned
    assert set(learned.some.values()) == {"left out"}


def test_an_unused_output_with_an_infinite_derivative_adds_nothing_in_a_random_program() -> None:
    class Random(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = Dropped()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            last = self.rnn(x)
            return last, (last - last.detach()).sqrt()

    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        model(x)[0].sum().backward()
        return []

    assert_emitted(compare(Random, use))


def test_a_hook_on_an_unused_output_that_adds_to_zeros_is_not_asked_for_them() -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = Tanh()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            _, last = self.rnn(x)
            doubled = 2 * last
            if doubled.requires_grad:
                doubled.register_hook(lambda gradient: gradient + 1)
            return last, doubled

    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        model(x)[0].sum().backward()
        return []

    assert_emitted(compare(Shifted, use))


class Both(torch.autograd.Function):
    """Two results, each of one argument; autograd asks for both gradients if one of the results is used."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        ctx.save_for_backward(a, b)
        return a.sin(), b.cos()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        a, b = ctx.saved_tensors
        return gradients[0] * a.cos(), -gradients[1] * b.sin()


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.other = Tanh(), nn.Parameter(torch.randn(HIDDEN))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return Both.apply(self.rnn(x)[1], self.other)  # pyright: ignore


@pytest.mark.parametrize("used", [0, 1])
def test_a_gradient_of_zeros_is_one_where_autograd_makes_one(used: int) -> None:
    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        model(x)[used].sum().backward()
        return []

    fast = compare(Joined, use)
    assert_emitted(fast)
    assert fast.other.grad is not None


def test_returned_arguments_and_parameters_are_those_very_objects() -> None:
    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        states, row, same, weight, last, again = model(x)
        assert same is x
        assert weight is model.rnn.W
        assert last is again
        assert row.untyped_storage().data_ptr() == states.untyped_storage().data_ptr()
        (states.sum() + row.square().sum() + same.sum() + weight.sin().sum() + last.cos().sum()).backward()
        return []

    assert_emitted(compare(Returned, use))


class Stacked(nn.Module):
    """What the loop saves for its backward pass is what it returns."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = Tanh()

    def forward(self, x: Tensor) -> Tensor:
        states, h = [], x.new_zeros(x.shape[0], HIDDEN)
        for t in range(x.shape[1]):
            h = torch.tanh(h @ self.rnn.W + x[:, t] @ self.rnn.U)
            states.append(h)
        return torch.stack(states)


def overwritten(model: Any, x: Tensor) -> list[Tensor | None]:
    result = model(x)
    result = result[0] if isinstance(result, tuple) else result
    result[0] = 0
    result.mul_(2).relu_()
    result.square().sum().backward()
    return [result.detach()]


@pytest.mark.parametrize("cell", [Tanh, Stacked, Dropped])
def test_results_may_be_written_into(cell: Callable[[], nn.Module]) -> None:
    assert_emitted(compare(cell, overwritten))


def test_writing_into_a_result_twice_is_an_error_where_it_is_one_in_torch() -> None:
    fast, original = pair(Tanh)
    fast(inputs())
    for model in (fast, original):
        states, _ = model(inputs())
        used = states.square()
        states.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            used.sum().backward()
    assert_emitted(fast)


def test_writing_into_a_result_leaves_the_other_results_alone() -> None:
    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        states, last = model(x)
        kept = states.detach().clone()
        with torch.no_grad():
            last.zero_()
        assert torch.equal(states, kept)
        return [states.detach(), last.detach()]

    assert_emitted(compare(Tanh, use))


SEEN: list[Tensor] = []


class Hooked(nn.Module):
    """A hook on what the loop carries, which does something else than compute a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.seen = Tanh(), []

    def keep(self, gradient: Tensor) -> None:
        self.seen.append(gradient.norm())

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], HIDDEN)
        for t in range(x.shape[1]):
            h = torch.tanh(h @ self.rnn.W + x[:, t] @ self.rnn.U)
            if h.requires_grad:
                h.register_hook(self.keep)
        return h


class HookedGlobally(Hooked):
    def keep(self, gradient: Tensor) -> None:
        SEEN.append(gradient.norm())


@pytest.mark.parametrize("cell", [Hooked, HookedGlobally])
def test_hooks_that_keep_gradients_never_see_made_up_ones(cell: Callable[[], nn.Module]) -> None:
    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        model.seen.clear()
        SEEN.clear()
        model(x).sum().backward()
        return [*model.seen, *SEEN]

    assert "the backward pass changes" in compare(cell, use).report().reason


def test_a_backward_hook_on_a_module_that_scales_gradients_is_recorded() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.U = nn.Linear(HIDDEN, HIDDEN), nn.Parameter(torch.randn(3, HIDDEN))
            self.inner.register_full_backward_hook(lambda module, given, taken: (given[0] * 0.5,))

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(x[:, 0] @ self.U)
            for t in range(1, x.shape[1]):
                h = torch.tanh(self.inner(h) + x[:, t] @ self.U)
            return h

    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        model(x).sum().backward()
        return []

    assert_emitted(compare(Linear, use))


def test_a_result_that_is_to_retain_its_gradient_is_left_to_the_original() -> None:
    class Retaining(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = Tanh()

        def forward(self, x: Tensor) -> Tensor:
            last = self.rnn(x)[1]
            if last.requires_grad:
                last.retain_grad()
            return last

    def use(model: Any, x: Tensor) -> list[Tensor | None]:
        last = model(x)
        last.square().sum().backward()
        return [last.grad]

    assert "is to keep its gradient" in compare(Retaining, use).report().reason


def test_sparse_gradients_are_left_to_the_original() -> None:
    class Looked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.rnn = nn.Embedding(4, HIDDEN, sparse=True), Tanh()

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[1] + self.rows(torch.tensor([1] * BATCH))

    fast, original = pair(Looked)
    x = inputs()
    for model in (fast, original):
        model(x).sum().backward()
    assert torch.equal(fast.rows.weight.grad.to_dense(), original.rows.weight.grad.to_dense())
    assert "param rows.weight is sparse" in fast.report().reason


def test_a_program_that_changes_between_its_passes_has_no_second_derivatives() -> None:
    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = Tanh()

        def forward(self, x: Tensor) -> Tensor:
            states, _ = self.rnn(x)
            return states if self.training else states * 2

    fast, _ = pair(Switched)
    fast(inputs().requires_grad_())
    x = inputs().requires_grad_()
    states = fast(x)
    fast.eval()
    with pytest.raises(GradientError, match="not as it was at its call"):
        torch.autograd.grad(states.sum(), x, create_graph=True)


def test_the_solves_of_the_backward_pass_join_those_of_its_call() -> None:
    fast, _ = pair(Tanh)
    fast(inputs())
    states, _ = fast(inputs())
    before = fast.report().runs
    states.sum().backward()
    loops = {loop.name: loop.backward for loop in fast.report().loops}
    assert [loops[run.loop] for run in fast.report().runs] == [False] * len(before) + [True] * 2
    fast(inputs())
    assert fast.report().runs == before


def test_no_tensor_outlives_the_graph_of_its_call() -> None:
    fast, _ = pair(Tanh)
    fast(inputs())
    states, last = fast(inputs())
    alive = [weakref.ref(tensor) for tensor in (states, last, states.grad_fn)]
    gc.disable()
    try:
        del states, last
        assert [reference() for reference in alive] == [None, None, None]
    finally:
        gc.enable()
