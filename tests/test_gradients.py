"""Gradients through a compiled program are those of the program's own backward pass."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.errors import GradientError
from tests.cells import (
    BATCH,
    CELLS,
    FEATURES,
    HIDDEN,
    STEPS,
    Cell,
    Columns,
    Diagonal,
    Dropped,
    Gru,
    Layers,
    LstmCell,
    Spiking,
    Tanh,
    assert_close,
    assert_emitted,
    gradients,
    inputs,
    pair,
)
from tests.turns import in_turn


@pytest.mark.parametrize(
    ("cell", "schedule", "dtype"),
    [
        *in_turn(CELLS, ["gs"], [torch.float64, torch.float32]),
        *in_turn(CELLS, ["jacobi"], [torch.float32, torch.float64]),
    ],
)
def test_gradients_are_those_of_the_original(cell: Cell, schedule: str, dtype: torch.dtype) -> None:
    rtol = 1e-10 if dtype == torch.float64 else 1e-5
    fast, original = pair(cell, dtype, schedule)
    for _ in range(3):
        x = inputs(dtype)
        assert_close(gradients(fast, x), gradients(original, x), rtol)
        assert_emitted(fast)
    assert ("jacobi" in str(fast.schedule)) == (schedule == "jacobi")
    assert {loop.backward for loop in fast.report().loops if loop.length >= STEPS - 3} == {False, True}


@pytest.mark.parametrize("cell", [Tanh, Gru, LstmCell, Diagonal, Columns, Layers])
@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_gradients_agree_with_finite_differences(cell: Cell, schedule: str) -> None:
    fast, _ = pair(cell, schedule=schedule)
    x = torch.randn(1, 5, FEATURES, dtype=torch.float64, requires_grad=True)
    fast(x)
    parameters = tuple(fast.parameters())

    def run(x: Tensor, *_: Tensor) -> Any:
        return fast(x)

    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)
    assert_emitted(fast)


@pytest.mark.parametrize("cell", [Tanh, Gru, LstmCell, Spiking])
def test_the_reverse_loop_is_affine_in_what_it_carries(cell: Cell) -> None:
    fast, _ = pair(cell)
    gradients(fast, inputs())
    assert any(loop.affine for loop in fast.report().loops)


def test_a_frozen_parameter_gets_no_gradient() -> None:
    fast, original = pair(Tanh)
    for model in (fast, original):
        model.W.requires_grad_(False)
    gradients(fast, inputs())
    x = inputs()
    assert_close(gradients(fast, x), gradients(original, x), 1e-10)
    assert fast.W.grad is None
    assert_emitted(fast)


class TwoHeads(nn.Module):
    """Two outputs, each with a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = Tanh()
        self.one = nn.Parameter(torch.randn(HIDDEN))
        self.two = nn.Parameter(torch.randn(HIDDEN))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states, last = self.rnn(x)
        return (states * self.one).sum(), (last * self.two).sum()


@pytest.mark.parametrize("used", [0, 1])
def test_what_an_unused_output_alone_depends_on_gets_none(used: int) -> None:
    fast, original = pair(TwoHeads)
    x = inputs()
    fast(x)
    for model in (fast, original):
        model.zero_grad()
        model(x)[used].backward()
    assert_close([p.grad for p in fast.parameters()], [p.grad for p in original.parameters()], 1e-10)
    assert (fast.one if used else fast.two).grad is None
    assert_emitted(fast)


def test_a_result_without_gradient_wants_none() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = Tanh()

        def forward(self, x: Tensor) -> dict[str, Any]:
            states, last = self.rnn(x)
            return {"last": last, "seen": last.detach(), "best": states.argmax(-1), "text": "result"}

    fast, original = pair(Detached)
    fast(inputs())
    x = inputs()
    found, expected = fast(x), original(x)
    assert {key: getattr(value, "requires_grad", None) for key, value in found.items()} == {
        key: getattr(value, "requires_grad", None) for key, value in expected.items()
    }
    found["last"].sum().backward()
    expected["last"].sum().backward()
    assert_close([p.grad for p in fast.parameters()], [p.grad for p in original.parameters()], 1e-10)
    assert torch.equal(found["seen"], found["last"])
    assert_emitted(fast)


def test_training_takes_the_same_way_as_the_original() -> None:
    fast, original = pair(Gru)
    optimizers = [torch.optim.Adam(model.parameters(), 1e-2) for model in (fast, original)]
    for _ in range(6):
        x = inputs()
        losses = []
        for model, optimizer in zip((fast, original), optimizers, strict=True):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        assert torch.allclose(*losses, rtol=1e-9)
    assert_emitted(fast)
    assert len(fast.entries) == 1


def test_a_hook_put_on_a_parameter_between_the_passes_runs_once() -> None:
    fast, original = pair(Tanh)
    fast(inputs())
    x, calls = inputs(), []
    for model in (fast, original):
        loss = model(x)[0].sum()
        model.W.register_hook(lambda gradient: calls.append(1) or 2 * gradient)
        loss.backward()
    assert_close([p.grad for p in fast.parameters()], [p.grad for p in original.parameters()], 1e-10)
    assert len(calls) == 2
    assert_emitted(fast)


def test_a_hook_put_on_a_parameter_between_two_calls_counts_once() -> None:
    fast, original = pair(Tanh)
    gradients(fast, inputs())
    assert_emitted(fast)
    for model in (fast, original):
        model.W.register_hook(lambda gradient: 2 * gradient)
    x = inputs()
    assert_close(gradients(fast, x), gradients(original, x), 1e-10)
    assert_emitted(fast)


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_a_hook_that_was_there_before_the_first_call_is_run_once_on_the_whole_gradient(schedule: str) -> None:
    fast, original = pair(Tanh, schedule=schedule)
    seen: dict[int, list[Tensor]] = {0: [], 1: []}
    for number, model in enumerate((fast, original)):
        model.W.register_hook(lambda gradient, number=number: seen[number].append(gradient.clone()))
        model.W.register_hook(lambda gradient: gradient.clamp(-0.5, 0.5))
    for _ in range(3):
        x, found = inputs(), []
        for model in (fast, original):
            model.zero_grad()
            (model(x)[0].sum() + model.W.square().sum()).backward()  # the hook clamps what comes of both terms
            found.append([parameter.grad for parameter in model.parameters()])
        assert_close(*found, 1e-10)
    assert_close(*seen.values(), 1e-10)
    assert len(seen[0]) == 3
    assert_emitted(fast)


def test_a_hook_on_what_a_program_is_given_is_run_once_with_two_derivatives_too() -> None:
    fast, original = pair(Tanh)
    for _ in range(2):
        x, found = inputs(), []
        for model in (fast, original):
            leaf = x.clone().requires_grad_()
            given = leaf * 1
            given.register_hook(lambda gradient: 2 * gradient)
            (first,) = torch.autograd.grad(model(given)[0].square().sum(), leaf, create_graph=True)
            found.append([first, *torch.autograd.grad(first.square().sum(), leaf)])
        assert_close(*found, 1e-9)
    assert_emitted(fast)


def test_state_handed_from_call_to_call_carries_its_gradient() -> None:
    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W = nn.Parameter(torch.randn(HIDDEN, HIDDEN) * 0.4)

        def forward(self, h: Tensor) -> Tensor:
            for _ in range(STEPS):
                h = torch.tanh(h @ self.W + 0.1)
            return h

    fast, original = pair(Step)
    h = torch.randn(BATCH, HIDDEN, dtype=torch.float64)
    fast(h)
    for model in (fast, original):
        model.zero_grad()
        model(model(model(h))).sum().backward()
    assert_close([fast.W.grad], [original.W.grad], 1e-10)
    assert_emitted(fast)


def test_an_argument_computed_from_a_parameter_of_the_program_counts_for_itself() -> None:
    fast, original = pair(Tanh)
    x = torch.randn(BATCH, STEPS, HIDDEN, dtype=torch.float64)
    for _ in range(2):
        for model in (fast, original):
            model.zero_grad()
            states, _ = model(x @ model.U.t())
            states.sum().backward()
        assert_close([p.grad for p in fast.parameters()], [p.grad for p in original.parameters()], 1e-10)
        assert_emitted(fast)


def test_second_derivatives_through_an_argument_computed_from_a_parameter_are_right() -> None:
    fast, original = pair(Tanh)
    x = torch.randn(BATCH, STEPS, HIDDEN, dtype=torch.float64)
    fast(x @ fast.U.t())
    found = []
    for model in (fast, original):
        (gradient,) = torch.autograd.grad(model(x @ model.U.t())[1].sum(), model.U, create_graph=True)
        found.append([gradient, *torch.autograd.grad(gradient.square().sum(), [model.W, model.U])])
    assert_close(*found, 1e-10)
    assert_emitted(fast)


def test_an_argument_in_a_list_may_have_been_computed_from_a_parameter() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = Tanh()

        def forward(self, xs: list[Tensor]) -> Tensor:
            return self.rnn(xs[0])[1]

    fast, original = pair(Listed)
    for _ in range(2):
        x = torch.randn(BATCH, STEPS, HIDDEN, dtype=torch.float64)
        for model in (fast, original):
            model.zero_grad()
            model([x @ model.rnn.U.t()]).sum().backward()
        assert_close([p.grad for p in fast.parameters()], [p.grad for p in original.parameters()], 1e-14)
    assert_emitted(fast)


def test_a_parameter_changed_between_the_passes_is_an_error_as_in_torch() -> None:
    fast, _ = pair(Tanh)
    fast(inputs())
    states, _ = fast(inputs())
    assert_emitted(fast)
    with torch.no_grad():
        fast.W.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        states.sum().backward()


def test_the_backward_pass_may_run_again_only_where_its_graph_is_retained() -> None:
    fast, original = pair(Tanh)
    fast(inputs())
    x = inputs()
    for model in (fast, original):
        model.zero_grad()
        loss = model(x)[0].sum()
        loss.backward(retain_graph=True)
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()
    assert_close([p.grad for p in fast.parameters()], [p.grad for p in original.parameters()], 1e-10)
    assert_emitted(fast)


def test_gradients_can_be_differentiated_again() -> None:
    fast, original = pair(Gru)
    fast(inputs().requires_grad_())
    x = inputs()
    found = []
    for model in (fast, original):
        model.zero_grad()
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf).sum(), leaf, create_graph=True)
        gradient.square().sum().backward()
        found.append([leaf.grad, *(p.grad for p in model.parameters())])
    assert_close(*found, 1e-10)
    assert_emitted(fast)


def test_the_backward_pass_uses_the_draws_of_its_forward_pass() -> None:
    fast, original = pair(Dropped)
    for seed in range(3):
        x, found = inputs(), []
        for model in (fast, original):
            torch.manual_seed(seed)
            found.append(gradients(model, x))
        assert_close(*found, 1e-10)
    assert_emitted(fast)


def test_second_derivatives_of_random_programs_are_refused() -> None:
    fast, _ = pair(Dropped)
    fast(inputs())
    x = inputs().requires_grad_()
    fast(x)
    with pytest.raises(GradientError, match="draws random numbers"):
        torch.autograd.grad(fast(x).sum(), x, create_graph=True)


def test_running_statistics_are_updated_and_their_gradients_right() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.norm = Tanh(), nn.BatchNorm1d(HIDDEN)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.rnn(x)[1])

    fast, original = pair(Normed)
    for _ in range(3):
        x = inputs()
        assert_close(gradients(fast, x), gradients(original, x), 1e-9)
        assert torch.allclose(fast.norm.running_var, original.norm.running_var)
    assert int(fast.norm.num_batches_tracked) == 3
    assert_emitted(fast)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # raised inside of torch
@pytest.mark.parametrize("transform", ["grad", "vmap", "jvp"])
def test_transforms_of_torch_func_see_the_original(transform: str) -> None:
    fast, original = pair(Tanh)
    x = inputs()
    fast(x)

    def apply(model: Any) -> Tensor:
        def loss(x: Tensor) -> Tensor:
            return model(x)[0].sum()

        match transform:
            case "grad":
                return torch.func.grad(loss)(x)
            case "vmap":
                return torch.func.vmap(loss)(x.unsqueeze(1))
        return torch.func.jvp(loss, (x,), (torch.ones_like(x),))[1]

    assert torch.equal(apply(fast), apply(original))


def test_without_grad_mode_the_same_program_is_another_entry() -> None:
    fast, _ = pair(Tanh)
    fast(inputs())
    with torch.no_grad():
        fast(inputs())
    assert [entry.schedule != "original" for entry in fast.entries] == [True, True]


def test_autocast_keeps_its_types_in_both_passes() -> None:
    fast, original = pair(Gru, torch.float32)
    for _ in range(2):
        x = inputs(torch.float32)
        found = []
        for model in (fast, original):
            with torch.autocast("cpu", torch.bfloat16):
                found.append(gradients(model, x))
        assert_close(*found, 1e-2)  # two roundings of bfloat16
    assert_emitted(fast)


def test_a_cotangent_of_any_strides_gives_the_same_gradient() -> None:
    fast, original = pair(Tanh)
    fast(inputs())
    x, found = inputs(), []
    for model in (fast, original):
        model.zero_grad()
        states, _ = model(x)
        # `sum` hands back one number expanded, and `transpose` a transposed tensor.
        (states.sum() + (states.transpose(0, 2) * 2).square().sum()).backward()
        found.append([p.grad for p in model.parameters()])
    assert_close(*found, 1e-10)
    assert_emitted(fast)
