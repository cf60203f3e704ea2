"""A buffer that is read whole may be swept only where it is proved that no step reads its own or a later entry."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import fxsolve
from fxsolve.ir.reads import has_carry
from fxsolve.plan.causality import judge
from fxsolve.plan.checks import checks_that_hold
from fxsolve.plan.structural import constants_of, known_values
from fxsolve.stages import capture, partition

D, HIDDEN, B = 6, 12, 3


class Masked(nn.Linear):
    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask.float())
        generator = torch.Generator().manual_seed(mask.shape[0])
        self.weight.data = torch.randn(mask.shape, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """Masked autoencoder (Germain et al. 2015) whose output i may see the inputs j with order[j] < order[i] + leak."""

    def __init__(self, order: Tensor | None = None, leak: int = 0) -> None:
        super().__init__()
        degrees = torch.arange(D) if order is None else order
        hidden = torch.arange(HIDDEN) % (D - 1)
        self.first = Masked(hidden[:, None] >= degrees)
        self.second = Masked(hidden[:, None] >= hidden)
        self.third = Masked(degrees[:, None] + leak > hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.first(x)))))


class Sampler(nn.Module):
    """Draws the pixels in the order in which they are written."""

    def __init__(self, net: nn.Module, order: list[int] | None = None) -> None:
        super().__init__()
        self.net = net
        self.order = order or list(range(D))

    def forward(self, noise: Tensor) -> Tensor:
        x = torch.zeros_like(noise)
        for i in self.order:
            x[:, i] = torch.tanh(self.net(x)[:, i] + noise[:, i])
        return x


def found_of(program: Callable[..., object], *inputs: Tensor) -> str:
    """What is found of the buffer that the loop of a program reads whole."""
    with torch.no_grad():
        captured = capture(program, *(inputs or (torch.rand(B, D),)))
    system = partition(captured).system
    (repeat,) = [repeat for repeat in system.repeats if has_carry(repeat)]
    constants = {**constants_of(captured), **checks_that_hold(captured, system)}
    return judge(repeat, known_values(system, constants)).found


@torch.no_grad()
def assert_right_and(method: str, program: Callable[[Tensor], Tensor], schedule: str) -> None:
    noise = torch.randn(B, D)
    fast = fxsolve.compile(program, (torch.randn(B, D),), schedule=schedule, backend="eager")
    torch.testing.assert_close(fast(noise), program(noise))
    assert str(fast.schedule) != "original"
    runs = {run.loop: run.method for run in fast.report().runs}
    assert runs["loop0"] == method


def test_strictly_triangular_masks_are_proved() -> None:
    assert found_of(Sampler(MADE())) == "proved"
    assert_right_and("jacobi", Sampler(MADE()), "jacobi")


def test_any_order_is_proved_if_pixels_are_written_in_it() -> None:
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    program = Sampler(MADE(order), order.argsort().tolist())
    assert found_of(program) == "proved"
    assert_right_and("jacobi", program, "jacobi")


def test_a_leak_on_the_diagonal_is_found_and_runs_in_order() -> None:
    program = Sampler(MADE(leak=1))
    assert re.match(r"not shown: step (\d+) may read what step \1 writes, through addmm at .*:\d+$", found_of(program))
    assert_right_and("gauss_seidel", program, "jacobi")


def test_a_wrong_order_is_found_and_runs_in_order() -> None:
    program = Sampler(MADE(), list(range(D))[::-1])
    assert "may read what step" in found_of(program)
    assert_right_and("gauss_seidel", program, "jacobi")


def test_a_single_leaking_weight_is_found() -> None:
    program = Sampler(MADE())
    program.net.first.mask[0, 1] = 1  # a unit that output 1 sees now sees input 1
    assert found_of(program).startswith("not shown: step 1 may read what step 1 writes, through ")
    assert_right_and("gauss_seidel", program, "jacobi")


class Watched(Sampler):
    """Also gives what a step sees of all entries: of those that are written later it sees the zeros."""

    def __init__(self, look: Callable[[Tensor], Tensor]) -> None:
        super().__init__(MADE())
        self.look = look

    def forward(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        x, seen = torch.zeros_like(noise), []
        for i in range(D):
            y = self.net(x)
            seen.append(self.look(y))
            x[:, i] = torch.tanh(y[:, i] + noise[:, i])
        return x, torch.stack(seen)


@pytest.mark.parametrize(
    "look", [lambda y: y.mean(1), lambda y: (y > 1).sum(1), lambda y: y], ids=["mean", "count", "whole"]
)
def test_what_a_step_hands_on_besides_may_see_no_later_entry_either(look: Callable[[Tensor], Tensor]) -> None:
    program = Watched(look)
    assert "may read what step" in found_of(program)
    with torch.no_grad():
        # The recorded run cannot tell what the network sees.
        program.net.third.weight.zero_()
        fast = fxsolve.compile(program, (torch.randn(B, D),), schedule="jacobi", backend="eager")
        program.net.third.weight.normal_()
        noise = torch.randn(B, D)
        for found, expected in zip(fast(noise), program(noise), strict=True):
            torch.testing.assert_close(found, expected)
    assert {run.loop: run.method for run in fast.report().runs}["loop0"] == "gauss_seidel"


@pytest.mark.parametrize(
    ("look", "found"),
    [(lambda x, y: y.sum(1), "proved"), (lambda x, y: x.sum(1), "not shown: step 5 may read what step 5 writes")],
    ids=["network", "entries"],
)
def test_what_the_last_step_hands_on_may_see_what_was_written_before_it(look: Callable, found: str) -> None:
    net = MADE()

    def program(noise: Tensor) -> tuple[Tensor, Tensor]:
        x, seen = torch.zeros_like(noise), noise
        for i in range(D):
            y = net(x)
            seen = look(x, y)
            x[:, i] = torch.tanh(y[:, i] + noise[:, i])
        return x, seen

    assert found_of(program).startswith(found)


def test_a_zero_among_the_weights_is_no_proof() -> None:
    """Weights are trained on: that one is zero today says nothing."""

    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(D, D).tril(-1))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.weight.t()

    program = Sampler(Dense())
    assert "may read what step" in found_of(program)
    assert_right_and("gauss_seidel", program, "jacobi")


def test_a_zero_in_an_input_is_no_proof() -> None:
    def program(noise: Tensor, mask: Tensor) -> Tensor:
        x = torch.zeros(B, D)
        for i in range(D):
            x[:, i] = torch.tanh((x @ mask)[:, i] + noise[:, i])
        return x

    mask = torch.ones(D, D).triu(1)
    assert "may read what step" in found_of(program, torch.randn(B, D), mask)
    fast = fxsolve.compile(program, (torch.randn(B, D), mask), schedule="jacobi", backend="eager")
    noise, full = torch.randn(B, D), torch.rand(D, D)
    torch.testing.assert_close(fast(noise, full), program(noise, full))
    assert "jacobi(loop0" not in str(fast.schedule)


def test_a_triangle_taken_in_the_program_is_proved() -> None:
    class Tril(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(D, D))

        def forward(self, x: Tensor) -> Tensor:
            return x @ torch.tril(self.weight, -1).t()

    assert found_of(Sampler(Tril())) == "proved"


def test_a_prefix_that_is_read_as_a_slice_is_proved_by_the_mask_of_its_length() -> None:
    def program(noise: Tensor) -> Tensor:
        x = torch.zeros(B, D)
        for i in range(D):
            x[:, i] = torch.tanh(x[:, :i].sum(1) + noise[:, i])
        return x

    assert_right_and("jacobi", program, "jacobi")


def of_ones(asks: Callable[[Tensor], object]) -> Callable[[Tensor], tuple[Tensor, list[object]]]:
    """A sampler over a buffer of ones that asks for something of the whole buffer at every step."""
    model = MADE()

    def program(noise: Tensor) -> tuple[Tensor, list[object]]:
        x, found = torch.ones(B, D), []
        for i in range(D):
            found.append(asks(x))
            x[:, i] = torch.tanh(model(x)[:, i] + noise[:, i])
        return x, found

    return program


def test_a_check_that_holds_may_see_the_finished_buffer() -> None:
    assert found_of(of_ones(lambda x: bool((x > -2).all()))) == "proved"


def test_a_check_that_does_not_hold_may_not() -> None:
    """An entry that is written late may fail it where those so far do not."""
    assert "may read what step" in found_of(of_ones(lambda x: bool((x > 2).all())))


def canvas(make: Callable[[Tensor], Tensor], asks: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """A sampler over what `make` makes of an input, which doubles what it reads where the answer for all is yes."""
    model = MADE()

    def program(noise: Tensor, given: Tensor) -> Tensor:
        x = make(given)
        for i in range(D):
            seen = model(x)[:, i]
            if bool(asks(x, given).all()):
                seen = seen * 2
            x[:, i] = torch.sigmoid(seen + noise[:, i])
        return x

    return program


@pytest.mark.parametrize(
    ("make", "asks", "proved"),
    [
        (torch.zeros_like, lambda x, given: x > -1, True),
        (torch.zeros_like, lambda x, given: x > given, False),
        (torch.clone, lambda x, given: x > -1, False),
        (lambda given: torch.cat((torch.zeros(B, D - 1), given[:, -1:]), 1), lambda x, given: x > -1, False),
    ],
    ids=["zeros", "a limit that is given", "a canvas that is given", "its last entry"],
)
def test_what_a_check_sees_of_entries_not_yet_written_has_to_be_the_same_in_every_run(
    make: Any, asks: Any, proved: bool
) -> None:
    program, noise, low = canvas(make, asks), torch.randn(B, D), torch.full((B, D), -0.5)
    assert (found_of(program, noise, low) == "proved") == proved
    fast = fxsolve.compile(program, (noise, low), schedule="jacobi", backend="eager")
    with torch.no_grad():
        for given in (low, low * 4, low * 0 + 0.2, low):
            torch.testing.assert_close(fast(noise, given), program(noise, given))


def test_a_prompt_in_front_of_zeros_may_be_checked_with_what_is_drawn_behind_it() -> None:
    model = MADE()

    def program(noise: Tensor, prompt: Tensor) -> Tensor:
        x = torch.zeros(B, D)
        x[:, :2] = prompt
        for i in range(2, D):
            assert bool((x > -5).all())
            x[:, i] = torch.tanh(model(x)[:, i] + noise[:, i])
        return x

    assert found_of(program, torch.randn(B, D), torch.rand(B, 2)) == "proved"


def test_what_is_asked_for_and_handed_on_may_not() -> None:
    program = of_ones(lambda x: (x > -0.5).all().clone())
    assert "may read what step" in found_of(program, torch.full((B, D), 2.0))
    fast = fxsolve.compile(program, (torch.full((B, D), 2.0),), schedule="jacobi", backend="eager")
    noise = torch.full((B, D), 2.0)
    noise[:, -2] = -9
    with torch.no_grad():
        assert fast(noise)[1] == program(noise)[1]


@pytest.mark.parametrize("wrong", [False, True])
def test_a_mask_written_to_after_the_proof_is_proved_anew(wrong: bool) -> None:
    model = Sampler(MADE()).eval()
    noise = torch.randn(B, D)
    with torch.no_grad():
        fast = fxsolve.compile(model, (noise,), schedule="jacobi", backend="eager")
        assert "jacobi(loop0" in str(fast.schedule)
        if wrong:
            model.net.first.mask.fill_(1)
            model.net.third.mask.fill_(1)
        else:
            model.net.first.mask.mul_(0.5)
        torch.testing.assert_close(fast(noise), model(noise))
        torch.testing.assert_close(fast(noise + 1), model(noise + 1))
        assert ("jacobi(loop0" in str(fast.schedule)) != wrong


def test_weights_of_either_sign_are_thought_of() -> None:
    """relu(w) of a negative weight is zero, and of the trained one it is not."""

    class Positive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(-torch.rand(D, D))

        def forward(self, x: Tensor) -> Tensor:
            return x @ torch.relu(self.weight)

    model = Sampler(Positive())
    assert "may read what step" in found_of(model)
    assert_right_and("gauss_seidel", model, "jacobi")
