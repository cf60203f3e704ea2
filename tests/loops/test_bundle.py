"""A list that a loop inside updates is carried as one stack, and nothing that is read changes."""

import operator
from dataclasses import replace

import torch
from torch import Tensor, fx

from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.nested import Nested, loops_inside
from fxsolve.ir.spec import AllSteps, Lag, LastStep, Repeat, Slices, Stacked, System
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.ir.verify import verify_system
from fxsolve.loops.nesting.bundle import bundle_carries

aten = torch.ops.aten
T, L, N = 4, 3, 2
ENTRY, STACK = spec_of(torch.empty(N)), spec_of(torch.empty(L, N))
NAMES = tuple(f"u{k}" for k in range(L))


def inner() -> Repeat:
    """u_k = tanh(u_k + below), through the L entries of the list."""
    body = fx.symbolic_trace(lambda u, below: (torch.tanh(u + below * 0.5),))
    return Repeat("inner", body, L, (Stacked(NAMES), Lag(0, ("x",))), (AllSteps("stack", 0),))


def outer(picked: tuple[int, ...] = tuple(range(L))) -> Repeat:
    """T sweeps through the list; entry k of the next one is number picked[k] of this one."""
    graph = fx.Graph()
    entries = {name: add_placeholder(graph, name, ENTRY) for name in NAMES}
    x = add_placeholder(graph, "x", ENTRY)
    nested = Nested(inner())
    call = graph.call_function(nested, tuple(({**entries, "x": x})[name] for name in nested.inputs))
    call.meta["spec"] = (STACK,)
    stack = graph.call_function(operator.getitem, (call, 0))
    stack.meta["spec"] = STACK
    for k in range(L, len(picked)):
        add_placeholder(graph, f"u{k}", ENTRY)
    results = [graph.call_function(aten.select.int, (stack, 0, k)) for k in picked]
    for result in results:
        result.meta["spec"] = ENTRY
    graph.output(tuple(results))
    carries = [Lag(k, (f"start{k}",)) for k in range(len(picked))]
    reads = (*carries[:L], Slices("x", 0, tuple(range(T))), *carries[L:])
    writes = (AllSteps("first", 0), LastStep("last", L - 1), LastStep("middle", 1))
    return Repeat("outer", fx.GraphModule({}, graph), T, reads, writes)


def check(repeat: Repeat) -> System:
    """The repeat and what was made of it give the same, bit for bit."""
    names = ("x", *(f"start{k}" for k in range(L)))
    values: dict[str, Tensor] = {"x": torch.randn(T, N), **{name: torch.randn(N) for name in names[1:]}}
    before = System(names, (repeat,), ("first", "last", "middle"))
    after = replace(before, equations=tuple(bundle_carries(repeat)))
    verify_system(after)
    assert all(torch.equal(*pair) for pair in zip(evaluate(after, values), evaluate(before, values), strict=True))
    return after


def test_a_list_whose_entries_are_all_carried_is_carried_as_one_stack() -> None:
    (bundled,) = check(outer()).repeats
    assert [read.distance for read in bundled.reads if isinstance(read, Lag)] == [1]
    (inside,) = loops_inside(bundled)
    assert any(isinstance(read, Slices) for read in inside.reads)
    assert not any(isinstance(read, Stacked) for read in inside.reads)


def test_entries_that_change_their_places_are_read_out_of_the_stack_in_their_new_order() -> None:
    (bundled,) = check(outer((2, 0, 1))).repeats
    assert sum(isinstance(read, Lag) for read in bundled.reads) == 1


def test_a_list_in_which_one_entry_is_carried_twice_stays_as_it_is() -> None:
    repeat = outer((0, 1, 2, 2))
    assert bundle_carries(repeat) == [repeat]


def test_a_list_of_which_an_entry_is_not_carried_stays_as_it_is() -> None:
    repeat = outer((0, 1, 2))
    repeat = replace(repeat, reads=(*repeat.reads[:2], Slices("x", 0, tuple(range(T))), repeat.reads[3]))
    assert bundle_carries(repeat) == [repeat]
    check(repeat)
