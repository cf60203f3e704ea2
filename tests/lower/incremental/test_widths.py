"""Steps that compute few places are a stage of their own, where the others compute many: none is left out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from torch import fx

from fxsolve.lower.incremental.places import Places
from fxsolve.lower.incremental.stage import Work
from fxsolve.lower.incremental.widths import by_width


def work(counts: list[int]) -> Work:
    """A node of which step t computes counts[t] places, one behind the other."""
    most, ends = max(counts), np.cumsum(counts)
    rows = [[*range(end - count, end), *[end - 1] * (most - count)] for count, end in zip(counts, ends, strict=True)]
    graph = fx.Graph()
    return Work(tuple(range(1, len(counts) + 1)), {graph.placeholder("x"): Places((0,), np.array(rows))})


def computed(works: list[Work]) -> dict[int, set[int]]:
    """The places by step."""
    pairs = [(one.steps, places.table) for one in works for places in one.nodes.values()]
    return {step: {*row.tolist()} for steps, table in pairs for step, row in zip(steps, table, strict=True)}


def places(works: list[Work]) -> int:
    return sum(one.table.size for part in works for one in part.nodes.values())


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_every_step_computes_its_places_and_all_together_fewer(counts: list[int]) -> None:
    whole = work(counts)
    parts = by_width([whole])
    assert computed(parts) == computed([whole])
    assert sorted(step for part in parts for step in part.steps) == list(whole.steps)
    assert all(list(part.steps) == sorted(part.steps) for part in parts)
    assert places(parts) <= places([whole])


def test_a_few_wide_steps_are_apart() -> None:
    first, second = by_width([work([2] * 48 + [30] * 16)])
    assert [table.shape for part in (first, second) for table in (p.table for p in part.nodes.values())] == [
        (48, 2),
        (16, 30),
    ]
    assert second.steps == tuple(range(49, 65))


def test_steps_of_one_width_are_one_stage() -> None:
    assert len(by_width([work([3] * 50)])) == 1
    assert len(by_width([work([3, 4] * 25)])) == 1


def test_a_stage_that_makes_results_alone_stays_as_it_is() -> None:
    only = Work((1, 2, 3), {}, tuple(fx.Graph().placeholder(name) for name in "ab"))
    assert by_width([only]) == [only]
