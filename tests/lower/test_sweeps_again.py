"""Equal steps are traced once, whatever they are called, and no two that differ in anything are taken for one."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.ir.spec import Repeat, Table
from fxsolve.lower import batch as batching
from fxsolve.lower.batch import batch


def loops(factors: tuple[float, ...], scale: int = 1, steps: int = 6) -> list[Repeat]:
    """The loop h = tanh(factor h + x_t) k_t for each of the factors, on what the one before has made."""

    def run(x: Tensor) -> Tensor:
        for factor in factors:
            h, made = x[0] * 0, []
            for t in range(steps):
                h = torch.tanh(factor * h + x[t]) * (scale * t + 1)
                made.append(h)
            x = torch.stack(made)
        return x

    with torch.no_grad():
        system = fxsolve.partition(fxsolve.capture(run, torch.randn(steps, 3))).system
    return [one for one in system.equations if isinstance(one, Repeat) and "tanh" in one.body.code]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    plain = batching._batched
    monkeypatch.setattr(batching, "_batched", lambda repeat, *rest: names.append(repeat.name) or plain(repeat, *rest))
    batching._sweep.cache_clear()
    return names


def test_equal_loops_are_batched_once(traced: list[str]) -> None:
    first, second = loops((0.5, 0.5))
    sweeps = [batch(one, one.length) for one in (first, second)]
    assert traced == [first.name]
    for repeat, sweep in zip((first, second), sweeps, strict=True):
        assert {node.name for node in sweep.graph.find_nodes(op="placeholder")} == {
            node.name for node in repeat.body.graph.find_nodes(op="placeholder")
        }


def test_who_is_given_a_sweep_may_change_it() -> None:
    (repeat,) = loops((0.5,))
    changed, given = batch(repeat, repeat.length), batch(repeat, repeat.length)
    before = given.code
    changed.graph.erase_node(changed.graph.output_node())
    assert batch(repeat, repeat.length).code == given.code == before


def test_steps_that_differ_are_batched_apart(traced: list[str]) -> None:
    (one,), (other,), (scaled,) = loops((0.5,)), loops((0.25,)), loops((0.5,), scale=2)
    (longer,) = loops((0.5,), steps=7)
    moved = replace(one, reads=tuple(Table((9,) * 6) if isinstance(read, Table) else read for read in one.reads))
    assert moved.reads != one.reads
    for repeat in (one, other, scaled, longer, moved):
        batch(repeat, repeat.length)
    batch(one, 2)
    assert len(traced) == 6
