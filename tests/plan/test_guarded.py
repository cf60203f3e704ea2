"""Loops that lead to what a program reads run in order once a read came out differently; no others do."""

from dataclasses import replace

import torch
from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.ir.spec import System
from fxsolve.plan.decision import Decision
from fxsolve.plan.guarded import exact_for
from fxsolve.plan.method import Steps, steps_of
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.schedule import leaves
from fxsolve.plan.verify import verify_schedule
from fxsolve.stages import capture, partition, schedule

T = 6


def program(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The first loop leads to the first read through the second one, the third to the second read, the last to none."""
    h = torch.zeros(3)
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
    g = h
    for y_t in y:
        g = torch.sin(g - y_t) * 0.3
    if g.sum() > 100:
        g = -g
    k = torch.ones(3)
    for y_t in y:
        k = torch.cos(k * 0.2 + y_t)
    if k.sum() > 100:
        k = -k
    free = torch.ones(3)
    for y_t in y:
        free = torch.sigmoid(free * 0.7 - y_t)
    return g + k, free


def decided() -> tuple[Program, System, Decision]:
    recorded = capture(program, torch.randn(T, 3), torch.randn(T, 3))
    parts = partition(recorded)
    return recorded, parts.system, schedule(recorded, parts, "jacobi", "eager")


def in_order(decision: Decision) -> list[str]:
    """The loops that run step by step."""
    return [steps_of(leaf).repeat for leaf in leaves(decision.schedule) if isinstance(leaf, Steps)]


def recurrences(system: System) -> list[str]:
    return [repeat.name for repeat in system.repeats if repeat.name.startswith("loop") and "_" not in repeat.name]


def test_the_loops_that_lead_to_the_read_run_in_order_and_say_why() -> None:
    recorded, system, decision = decided()
    first, second, third, free = recurrences(system)
    assert in_order(decision) == []
    found = exact_for(recorded, system, decision, 0)
    assert found is not None
    verify_schedule(found.schedule, system)
    assert {first, second} <= set(in_order(found))
    assert not {third, free} & set(in_order(found))
    where = recorded.guards[0].source
    note = f"{first} runs in order: what the program reads at {where} came out differently"
    assert note in found.notes
    choices = {choice.repeat: choice for choice in found.choices}
    assert all(isinstance(part, Steps) for part in choices[first].parts)
    assert any(isinstance(part, Jacobi) for part in choices[free].parts)
    assert "came out differently" in choices[second].chosen.reason


def test_a_second_read_adds_its_own_loops() -> None:
    recorded, system, decision = decided()
    *_, third, free = recurrences(system)
    first = exact_for(recorded, system, decision, 0)
    assert first is not None
    second = exact_for(recorded, system, first, 1)
    assert second is not None
    assert third in in_order(second)
    assert free not in in_order(second)
    assert set(in_order(first)) < set(in_order(second))


def test_where_they_run_in_order_already_nothing_is_left_to_do() -> None:
    recorded, system, decision = decided()
    found = exact_for(recorded, system, decision, 0)
    assert found is not None
    assert exact_for(recorded, system, found, 0) is None


def test_loops_that_lead_to_any_real_number_run_in_order_with_them() -> None:
    recorded, system, decision = decided()
    real = replace(recorded.guards[1], expected=0.5)
    found = exact_for(replace(recorded, guards=(recorded.guards[0], real)), system, decision, 0)
    assert found is not None
    assert recurrences(system)[2] in in_order(found)
