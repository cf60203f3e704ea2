"""Of a raw record only what lies in written memory is replayed: the graph is the one that replaying all of it gives."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, fx

from fxsolve.capture.communication import Line
from fxsolve.capture.functional.functionalize import replay
from fxsolve.capture.functional.written import written_memory
from fxsolve.capture.record.record import record
from fxsolve.state.stores import NO_LIVE
from tests.capture.test_writes import SIZE, VIEWS, WRITES

# What may happen to one of three matrices: x is given, y and z are made on the way.
Step = Callable[[dict[str, Tensor], str, str, int], None]


def _write(of: dict[str, Tensor], a: str, b: str, i: int) -> None:
    WRITES[i % len(WRITES)](VIEWS[i % len(VIEWS)](of[a], i % SIZE), of[b].sum() * 0.1)


def _compute(of: dict[str, Tensor], a: str, b: str, i: int) -> None:
    of[a] = torch.sin(of[b] @ of[a].t())


def _parts(of: dict[str, Tensor], a: str, b: str, i: int) -> None:
    of[a] = torch.cat([part * 2 for part in of[b].split(2, i % 2)], i % 2)


def _largest(of: dict[str, Tensor], a: str, b: str, i: int) -> None:
    values, indices = of[b].topk(SIZE, i % 2)
    of[a] = values.neg_() if i % 3 else of[a].gather(i % 2, indices)


def _alias(of: dict[str, Tensor], a: str, b: str, i: int) -> None:
    of[a] = of[b].t() if i % 2 else of[b].detach()


def _reshape(of: dict[str, Tensor], a: str, b: str, i: int) -> None:
    of[a] = of[b].clone().unsqueeze_(0).mul_(0.5).squeeze_(0)


def _all_at_once(of: dict[str, Tensor], a: str, b: str, i: int) -> None:
    torch._foreach_mul_([of[a], of[b].clone()], 0.5)  # pyright: ignore[reportPrivateImportUsage]


STEPS: list[Step] = [_write, _write, _compute, _compute, _parts, _largest, _alias, _reshape, _all_at_once]
NAMES = st.sampled_from("xyz")
CHOICES = st.tuples(st.sampled_from(STEPS), NAMES, NAMES, st.integers(0, 89))


def text(graph: fx.Graph) -> list[str]:
    return [f"{node.name} {node.op} {node.target} {node.args} {node.kwargs} {node.meta}" for node in graph.nodes]


def raw_graph(program: Callable[..., Any], *args: Tensor) -> fx.Graph:
    torch.manual_seed(0)
    return record(program, args, {}, NO_LIVE, Line()).graph


@settings(max_examples=50, deadline=None)
@given(st.lists(CHOICES, min_size=1, max_size=8))
def test_replaying_written_memory_gives_what_replaying_all_gives(steps: list) -> None:
    def program(x: Tensor) -> tuple[Tensor, ...]:
        of = {"x": x, "y": x * 2, "z": torch.ones(SIZE, SIZE)}
        first = tuple(of.values())
        for step, a, b, i in steps:
            step(of, a, b, i)
        return (*of.values(), *first[1:])

    try:
        program(torch.arange(16.0).view(SIZE, SIZE))
    except RuntimeError:
        reject()  # a view of what lies in memory in another order
    raw = raw_graph(program, torch.arange(16.0).view(SIZE, SIZE))
    found = written_memory(raw)
    assert text(replay(raw, found)) == text(replay(raw, set(raw.nodes)))


def test_views_of_what_is_written_into_are_found_and_nothing_else() -> None:
    def program(x: Tensor) -> Tensor:
        buffer, other = torch.zeros(3), x.view(-1)
        row = buffer[1:]
        row.add_(other[:2].sin())
        return buffer * other

    raw = raw_graph(program, torch.ones(3))
    names = {node.name for node in written_memory(raw)}
    assert {"zeros", "add"} <= names
    assert not names & {"input_0", "view", "sin", "mul"}
    assert len([node for node in raw.nodes if node.name.startswith("slice") and node.name in names]) == 1


@pytest.mark.parametrize("is_written", [True, False])
def test_a_program_without_inputs_is_functional(is_written: bool) -> None:
    def program() -> Tensor:
        x = torch.zeros(2)
        y = torch.ones(2).add_(1)
        return x.add_(y) if is_written else x + y

    raw = raw_graph(program)
    assert text(replay(raw, written_memory(raw))) == text(replay(raw, set(raw.nodes)))


def test_replaying_a_step_does_not_cost_more_where_it_has_more_layers() -> None:
    def program(x: Tensor) -> Tensor:
        y = torch.zeros(8, 3)
        for t in range(8):
            h = y.sum(0) + x
            for _ in range(20):
                h = torch.tanh(h) * 0.5
            y[t] = h
        return y

    assert len(written_memory(raw_graph(program, torch.ones(3)))) <= 1 + 8 * 3
