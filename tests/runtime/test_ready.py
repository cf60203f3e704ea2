"""A checked module runs as the program would: fresh draws, its side effects, and an end where a proof has lapsed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.capture.program import Program
from fxsolve.errors import GuardError
from fxsolve.runtime.gradients import Original
from fxsolve.runtime.ready import Ready, generators_of, make_ready
from fxsolve.stages import emit, partition, schedule
from fxsolve.state.generators import rewinder
from tests.runtime.building import numbers, recorded, recurrence


@torch.no_grad()
def ready_of(program: Callable[..., Any], *inputs: Any, method: str = "gs") -> Ready:
    captured = recorded(program, *inputs)
    parts = partition(captured)
    decision = schedule(captured, parts, method, "eager")
    return make_ready(captured, decision, emit(captured, parts, decision))


def call(ready: Ready, program: Callable[..., Any], *inputs: Tensor) -> Any:
    with torch.no_grad():
        return ready.run(ready.inputs(inputs), Original(program, inputs, {}))


def noisy(x: Tensor) -> Tensor:
    return recurrence(x + torch.randn_like(x))


@torch.no_grad()
def test_a_module_draws_anew_what_the_program_would_draw(seed: int) -> None:
    ready, x = ready_of(noisy, numbers(6, 2)), numbers(6, 2)
    found = []
    for run in (lambda: call(ready, noisy, x), lambda: noisy(x)):
        torch.manual_seed(seed)
        found += [run(), run(), torch.get_rng_state()]
    assert torch.equal(found[0], found[3])
    assert torch.equal(found[1], found[4])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[2], found[5])


@torch.no_grad()
def test_a_rewound_module_draws_the_same_again() -> None:
    ready, x = ready_of(noisy, numbers(6, 2)), numbers(6, 2)
    rewind = ready.rewinder()
    first = call(ready, noisy, x)
    rewind()
    assert torch.equal(call(ready, noisy, x), first)


def test_generators_are_those_of_the_draws_each_once() -> None:
    own = torch.Generator().manual_seed(3)

    def program(x: Tensor) -> Tensor:
        for _ in range(6):
            x = torch.tanh(x + torch.randn(2, generator=own) + torch.rand(2) + torch.randn(2, generator=own))
        return x

    found: Program = recorded(program, numbers(2))
    generators = generators_of(found)
    assert {one.initial_seed() for one in generators} == {3, torch.initial_seed()}
    assert len(generators) == 2
    assert generators_of(recorded(recurrence, numbers(6, 2))) == ()


def test_a_rewinder_puts_every_generator_back() -> None:
    one, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    rewind = rewinder((one, other))
    before = [torch.rand(3, generator=generator) for generator in (one, other)]
    rewind()
    for generator, expected in zip((one, other), before, strict=True):
        assert torch.equal(torch.rand(3, generator=generator), expected)


def test_results_are_the_objects_that_the_program_hands_on() -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = recurrence(x)
        return x, h, h

    x = numbers(6, 2)
    first, second, third = call(ready_of(program, numbers(6, 2)), program, x)
    assert first is x
    assert second is third
    assert torch.equal(second, recurrence(x))


class Running(nn.Module):
    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2, dtype=torch.float64))
        self.latest: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        h = recurrence(x)
        self.mean.mul_(0.9).add_(h.mean(0))
        self.latest = h[-1]
        return h


@torch.no_grad()
def test_side_effects_are_made_at_every_run_as_the_program_makes_them() -> None:
    ours, theirs = Running(), Running()
    ready = ready_of(ours, numbers(6, 2))
    ours.mean.zero_()
    for scale in (1.0, 2.0):
        x = numbers(6, 2) * scale
        assert torch.equal(call(ready, ours, x), theirs(x))
        assert torch.equal(ours.mean, theirs.mean)
        assert ours.latest is not None
        assert theirs.latest is not None
        assert torch.equal(ours.latest, theirs.latest)


@torch.no_grad()
def test_a_guard_that_fails_leaves_nothing_written() -> None:
    def program(x: Tensor, kept: Tensor) -> Tensor:
        h = recurrence(x)
        kept.copy_(h[0])
        return h * 2 if h[-1].sum() > 0 else h

    x, kept = numbers(6, 2).abs(), torch.zeros(2, dtype=torch.float64)
    ready = ready_of(program, x, kept)
    assert torch.equal(call(ready, program, x, kept), recurrence(x) * 2)
    assert torch.equal(kept, recurrence(x)[0])
    kept.zero_()
    with pytest.raises(GuardError):
        call(ready, program, -x, kept)
    assert not kept.any()


MASK = torch.tril(numbers(6, 6), -1)


def sampler(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    for t in range(6):
        y[:, t] = torch.tanh(y @ MASK.t() + x)[:, t]
    return y


@torch.no_grad()
def test_only_a_proof_of_causality_watches_tensors() -> None:
    x = numbers(2, 6)
    assert ready_of(sampler, x).watched == ()
    swept = ready_of(sampler, x, method="jacobi")
    assert [id(one.tensor) for one in swept.watched] == [id(MASK)]
    torch.testing.assert_close(call(swept, sampler, x), sampler(x), rtol=1e-12, atol=1e-12)
    assert not swept.is_stale()


def replaced() -> None:
    MASK.data = MASK.data.clone()


@pytest.mark.parametrize("change", [lambda: MASK.mul_(1.0), replaced], ids=["written", "moved"])
@torch.no_grad()
def test_a_proof_lapses_where_its_tensor_was_written_to_or_moved(change: Callable[[], Any]) -> None:
    swept = ready_of(sampler, numbers(2, 6), method="jacobi")
    assert not swept.is_stale()
    change()
    assert swept.is_stale()
