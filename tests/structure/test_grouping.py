"""Equation blocks of random graphs: they cover all calls, and reading them in order is possible whatever they are."""

import time
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.structure.grouping import CallGraph, Grouping, Path, group
from fxsolve.structure.quotient import (
    Skip,
    levels_of,
    longest_path,
    skips_of,
    time_on,
    waists,
)


@st.composite
def call_graphs(draw: st.DrawFn) -> CallGraph:
    """Chains with skips, joins and branches, some of whose costly calls belong to modules."""
    count = draw(st.integers(1, 40))
    reads: list[tuple[int, ...]] = []
    for call in range(count):
        far = draw(st.lists(st.integers(0, call - 1), max_size=3)) if call else []
        near = [call - 1] if call and draw(st.booleans()) else []
        reads.append(tuple(sorted({*far, *near})))
    costs = draw(st.lists(st.sampled_from([0, 0, 1, 5]), min_size=count, max_size=count))
    gathers = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    part = st.tuples(st.sampled_from("ab"), st.sampled_from(["0", "1", "left", "right"]), st.sampled_from(["x", "y"]))
    paths = draw(st.lists(st.one_of(st.just(()), part), min_size=count, max_size=count))
    return CallGraph(tuple(reads), tuple(costs), tuple(gathers), tuple(paths))


def reads_between(reads: tuple[tuple[int, ...], ...], block: tuple[int, ...], count: int) -> list[set[int]]:
    """Which blocks each of `count` blocks reads, from what calls read and the block of each call."""
    between: list[set[int]] = [set() for _ in range(count)]
    for call, sources in enumerate(reads):
        between[block[call]].update(block[source] for source in sources if block[source] != block[call])
    return between


def quotient(graph: CallGraph, found: Grouping) -> list[set[int]]:
    return reads_between(graph.reads, found.block, len(found.paths))


@given(call_graphs())
@settings(max_examples=40, deadline=None)
def test_blocks_cover_all_calls_and_read_only_earlier_ones(graph: CallGraph) -> None:
    found = group(graph)
    assert len(found.block) == len(graph.reads)
    assert set(found.block) == set(range(len(found.paths)))
    assert all(source < block for block, sources in enumerate(quotient(graph, found)) for source in sources)


@given(call_graphs())
@settings(max_examples=40, deadline=None)
def test_no_path_leaves_a_block_and_comes_back(graph: CallGraph) -> None:
    found = group(graph)
    calls = nx.DiGraph((source, call) for call, sources in enumerate(graph.reads) for source in sources)
    calls.add_nodes_from(range(len(graph.reads)))
    for start in calls:
        for end in nx.descendants(calls, start):
            if found.block[start] == found.block[end]:
                between = nx.descendants(calls, start) & nx.ancestors(calls, end)
                assert {found.block[call] for call in between} <= {found.block[start]}


@given(call_graphs())
@settings(max_examples=40, deadline=None)
def test_each_costly_call_has_a_block_of_its_own_unless_its_module_has_one(graph: CallGraph) -> None:
    found = group(graph)
    costly = [call for call, cost in enumerate(graph.costs) if cost]
    for one, other in ((a, b) for a in costly for b in costly if a < b):
        if found.block[one] == found.block[other]:
            module = found.paths[found.block[one]]
            assert module
            assert graph.paths[one][: len(module)] == graph.paths[other][: len(module)] == module


@given(call_graphs())
@settings(max_examples=40, deadline=None)
def test_equal_graphs_have_equal_blocks(graph: CallGraph) -> None:
    assert group(graph) == group(CallGraph(graph.reads, graph.costs, graph.gathers, graph.paths))


@given(call_graphs(), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_no_number_of_units_beats_the_longest_chain_or_loses_to_one_unit(graph: CallGraph, units: int) -> None:
    costs = [float(cost + 1) for cost in graph.costs]
    chain = longest_path(dict(enumerate(graph.reads)), dict(enumerate(costs)))
    taken = time_on(units, graph.reads, costs)
    assert max(chain, sum(costs) / units) - 1e-9 <= taken <= sum(costs) / units + chain + 1e-9
    assert time_on(1, graph.reads, costs) == pytest.approx(sum(costs))
    assert time_on(len(costs), graph.reads, costs) == pytest.approx(chain)


@given(call_graphs())
@settings(max_examples=40, deadline=None)
def test_levels_are_the_longest_chains(graph: CallGraph) -> None:
    ones = dict.fromkeys(range(len(graph.reads)), 1)
    assert max(levels_of(graph.reads)) == longest_path(dict(enumerate(graph.reads)), ones)


def chain(paths: list[Path]) -> CallGraph:
    """A product and a cheap call for each path, one behind the other."""
    count = 2 * len(paths)
    reads = tuple((call - 1,) if call else () for call in range(count))
    each = [path for one in paths for path in (one, ())]
    return CallGraph(reads, (1, 0) * len(paths), (False,) * count, tuple(each))


def test_a_chain_is_one_block_a_product() -> None:
    found = group(chain([("net", str(k)) for k in range(4)]))
    assert found.block == (0, 0, 1, 1, 2, 2, 3, 3)


def test_a_module_with_others_like_it_is_one_block() -> None:
    paths = [(name, part) for name in ("one", "two") for part in ("expand", "shrink")]
    assert group(chain(paths)) == Grouping((0, 0, 0, 0, 1, 1, 1, 1), (("one",), ("two",)))


def test_a_module_with_a_skip_inside_stays_apart() -> None:
    """Both of its results are read from outside."""
    plain = chain([(name, part) for name in ("one", "two") for part in ("expand", "shrink")])
    reads = (*plain.reads[:6], (1, 5), *plain.reads[7:])
    assert len(group(CallGraph(reads, plain.costs, plain.gathers, plain.paths)).paths) == 3


def test_a_sum_belongs_to_the_last_block_and_what_gathers_to_its_reader() -> None:
    reads = ((), (0,), (0, 1), (2,), (2, 3), (4,))
    costs = (1, 1, 0, 1, 0, 1)
    added = group(CallGraph(reads, costs, (False,) * 6, ((),) * 6))
    gathered = group(CallGraph(reads, costs, (False, False, False, False, True, False), ((),) * 6))
    assert added.block == (0, 1, 1, 2, 2, 3)
    assert gathered.block == (0, 1, 1, 2, 3, 3)


def test_what_joins_paths_side_by_side_makes_none_wait() -> None:
    reads = ((), (0,), (0,), (1, 2))
    found = group(CallGraph(reads, (1, 1, 1, 0), (False,) * 4, ((),) * 4))
    assert levels_of(quotient(CallGraph(reads, (), (), ()), found)) == [1, 2, 2, 3]


def test_skips_and_waists() -> None:
    reads = [(), (0,), (0, 1), (0, 2), (3,)]
    assert skips_of(reads) == [Skip(0, 2, 2), Skip(0, 3, 3)]
    assert waists(reads) == [0, 3, 4]
    assert waists([(), ()]) == []
    assert waists([]) == []


def test_ten_thousand_calls_take_a_moment() -> None:
    """A dense block of 2,000 layers in stages of 20, five calls a layer."""
    reads: list[tuple[int, ...]] = []
    for layer in range(2000):
        first = 100 * (layer // 20)
        reads.append(tuple(range(first - 1 if first else 4, 5 * layer, 5)))
        reads += [(5 * layer + k,) for k in range(4)]
    costs = (0, 0, 1, 0, 1) * 2000
    paths = tuple((f"stage{k // 100}", f"layer{k // 5 % 20}", f"conv{k % 5}") for k in range(10000))
    start = time.process_time()
    found = group(CallGraph(tuple(reads), costs, (True, False, False, False, False) * 2000, paths))
    assert time.process_time() - start < 2
    assert len(found.paths) == 2000
    assert all(a <= b for a, b in pairwise(found.block))
