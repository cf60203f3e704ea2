"""Loops in loops through the public API: which schedule runs, values on two inputs, lengths, samples and reports."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import ScheduleError
from fxsolve.ir.text import pattern_text
from fxsolve.plan.decision import Candidate, Choice, Decision
from fxsolve.plan.method import Steps
from fxsolve.plan.text import parse_schedule
from fxsolve.report.from_json import from_json
from fxsolve.report.to_json import to_json
from fxsolve.runtime.compiled import Compiled
from fxsolve.solvers.solution import observe
from fxsolve.stages import capture, emit, partition, schedule
from tests.loops.nests import (
    COLUMNS,
    FLAT,
    LAYERS,
    LONG,
    NESTS,
    ROWS,
    B,
    Cell,
    DeepUnfolded,
    LayersOverTime,
    N,
    Nest,
    Rows,
    RowStarts,
)

LAYERED = f"loop0[0:{LAYERS}]"
INSIDE = f"jacobi(loop0_loop0_inputs[0:{LONG}])"


def compiled(program: Callable[..., Any], text: str = "gs") -> Compiled:
    return fxsolve.compile(program, schedule=text, backend="eager")


def leaves(values: Any) -> list[Tensor]:
    return list(values) if isinstance(values, tuple) else [values]


def run(program: Callable[..., Any], x: Tensor) -> list[Tensor]:
    torch.manual_seed(7)
    with torch.no_grad():
        return leaves(program(x))


def assert_equal(fast: Compiled, program: Callable[..., Any], x: Tensor, exact: bool = True) -> None:
    """The same values: the same bits, or within a few times what a solve in double precision stops at."""
    for found, expected in zip(run(fast, x), run(program, x), strict=True):
        assert torch.equal(found, expected) if exact else torch.allclose(found, expected, rtol=1e-11, atol=1e-11)


def assert_equal_twice(fast: Compiled, program: Callable[..., Any], *shape: int, exact: bool = True) -> None:
    """As `assert_equal`, by the call that compiles, whose result is the original's, and by one of what was emitted."""
    for _ in range(2):
        assert_equal(fast, program, torch.randn(*shape, dtype=torch.float64), exact)
    assert fast.report().runs, fast.report().reason


@pytest.mark.parametrize("nest", [*NESTS, *FLAT], ids=str)
def test_in_order_two_inputs_give_the_same_bits(nest: Nest) -> None:
    program = nest.program()
    fast = compiled(program)
    for x in nest.inputs(3):
        assert_equal(fast, program, x)
    assert fast.report().status == "emitted", fast.report().reason
    assert len(fast.entries) == 1
    flat = [length for shape in nest.found for length in lengths(shape)]
    assert [loop.length for loop in fast.report().loops] == flat


def lengths(shape: tuple[Any, ...]) -> list[int]:
    return [shape[0], *(length for inner in shape[1:] for length in lengths(inner))]


@pytest.mark.parametrize("nest", NESTS, ids=str)
def test_sweeps_of_the_loops_inside_give_the_same_values(nest: Nest) -> None:
    program = nest.program()
    fast = compiled(program, "jacobi")
    for x in nest.inputs(2):
        assert_equal(fast, program, x, exact=False)
    assert fast.report().status == "emitted", fast.report().reason
    refused = [note for note in fast.report().notes if "runs in order: a step of" in note]
    assert "jacobi" in str(fast.schedule) or refused
    assert bool(refused) == (nest.name in ("numbered", "filled"))


@pytest.mark.parametrize("method", ["jacobi", "newton", "picard", "levels"])
def test_a_method_by_its_name_applies_to_the_recurrence_inside(method: str) -> None:
    program = LayersOverTime().double()
    fast = compiled(program, method)
    assert_equal_twice(fast, program, LONG, B, N, exact=False)
    depth = f", depth={LONG}" if method == "levels" else ""
    assert str(fast.schedule) == f"gs({LAYERED}({INSIDE}, {method}(loop0_loop0[0:{LONG}]{depth})))"
    runs = {(one.loop, one.method) for one in fast.report().runs}
    assert ("loop0", "gauss_seidel") in runs
    assert ("loop0_loop0", method) in runs
    assert ("loop0_loop0_inputs", "jacobi") in runs


@pytest.mark.parametrize(
    "text",
    [
        f"gs({LAYERED}({INSIDE}, loop0_loop0[0:{LONG}]))",
        f"gs({LAYERED}(gs(jacobi(loop0_loop0[0:3]), jacobi(loop0_loop0[3:{LONG}]))))",
        f"{LAYERED}(jacobi(gs(loop0_loop0[0:{LONG}:2])))",
    ],
)
def test_a_schedule_names_the_loops_inside_and_reads_back_as_it_is_written(text: str) -> None:
    program = LayersOverTime().double()
    fast = compiled(program, text)
    assert_equal_twice(fast, program, LONG, B, N, exact=False)
    again = compiled(program, str(fast.schedule))
    assert_equal_twice(again, program, LONG, B, N, exact=False)
    assert again.schedule == fast.schedule
    inner = [one for one in fast.report().runs if one.loop == "loop0_loop0"]
    assert len(inner) == LAYERS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{LAYERED}(loop0_loop0[0:3])", f"solves 3 of {LONG} steps of loop0_loop0"),
        (f"{LAYERED}(loop0_loop0[1:{LONG}])", "cannot follow step 0"),
        (f"{LAYERED}(loop0)", "there is no equation 'loop0'"),
        (f"gs(loop0_loop0[0:{LONG}])", "there is no equation 'loop0_loop0'"),
        (f"{LAYERED}(loop0_loop0, jacobi(loop0_loop0))", "loop0_loop0 is solved twice"),
    ],
)
def test_a_schedule_that_does_not_fit_the_nest_is_refused(text: str, message: str) -> None:
    with pytest.raises(ScheduleError, match=message.replace("[", r"\[")):
        run(compiled(LayersOverTime(), text), torch.randn(LONG, B, N))


def test_steps_that_run_a_short_recurrence_are_swept_as_a_whole() -> None:
    program = LayersOverTime().double()
    fast = compiled(program, "jacobi(loop0)")
    assert_equal_twice(fast, program, LONG, B, N, exact=False)
    assert str(fast.schedule) == f"jacobi({LAYERED})"


def test_sweeps_over_steps_that_run_a_long_recurrence_are_refused_with_the_reason(monkeypatch) -> None:
    monkeypatch.setattr("fxsolve.lower.batch.MAX_CALLS", 30)
    program = LayersOverTime().double()
    fast = compiled(program, "jacobi(loop0)")
    assert_equal_twice(fast, program, LONG, B, N)
    assert str(fast.schedule) == LAYERED
    assert any("loop0_loop0, a loop in a step, make more than 30 calls" in note for note in fast.report().notes)


def test_maps_in_maps_are_one_sweep() -> None:
    program = RowStarts().double()
    fast = compiled(program, "jacobi")
    assert_equal_twice(fast, program, ROWS, COLUMNS, B, N, exact=False)
    assert f"jacobi(loop0_inputs[0:{ROWS}])" in str(fast.schedule)
    runs = [one.loop for one in fast.report().runs]
    assert runs.count("loop0_inputs") == 1
    assert "loop0_loop0_inputs" not in runs


def test_the_automatic_choice_probes_the_loop_inside_once_and_reports_the_nest() -> None:
    program = LayersOverTime(6).eval()
    fast = compiled(program, "auto")
    for _ in range(2):
        x = torch.randn(200, 1, N)
        for found, expected in zip(run(fast, x), run(program, x), strict=True):
            torch.testing.assert_close(found, expected)
    report = fast.report()
    assert [(loop.name, loop.length, loop.outer) for loop in report.loops] == [
        ("loop0", 6, ""),
        ("loop0_loop0_inputs", 200, "loop0"),
        ("loop0_loop0", 200, "loop0"),
    ]
    outer, inputs, recurrence = report.loops
    assert outer.chosen.reason == "each step runs loop0_loop0_inputs, loop0_loop0"
    assert inputs.chosen.schedule == "jacobi(loop0_loop0_inputs[0:200])"
    assert recurrence.step_seconds is not None
    text = str(report)
    assert "loop loop0: 6 steps of" in text
    assert "and (loop0_loop0_inputs: 200 steps" in text
    assert "200 steps of 3 ops, in each step of loop0" in " ".join(text.split())
    assert from_json(to_json(report)) == report


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_compiled_steps_of_the_loop_inside_serve_all_layers() -> None:
    """One layer's weight is laid out in another way than the others': compiled code expects one layout."""
    program = LayersOverTime(3).double()
    keep = program.cells[1].keep
    keep.weight = nn.Parameter(keep.weight.detach().T.contiguous().T)
    x = torch.randn(2, 50, 1, N, dtype=torch.float64)
    with torch.no_grad():
        recorded = capture(program, x[0])
        parts = partition(recorded)
        order = parse_schedule("loop0(fused(loop0_loop0, unroll=4))", parts.system)
        emitted = emit(recorded, parts, Decision(order))
        for sequence in x:
            with observe() as solutions:
                (found,) = emitted.module(sequence)
            assert torch.allclose(found, program(sequence), rtol=1e-9, atol=1e-11)
            assert [one.method for one in solutions if one.name == "loop0_loop0"] == ["fused_gauss_seidel"] * 3


@pytest.mark.parametrize("axis", ["inner", "outer"])
def test_a_nest_recorded_at_two_lengths_is_known_at_a_third(axis: str) -> None:
    program = Rows().double()
    fast = compiled(program)
    for size in (12, 14, 19):
        shape = (4, size) if axis == "inner" else (size, 40)
        assert_equal_twice(fast, program, *shape, B, N)
    if axis == "inner":
        assert any("not recorded" in note for note in fast.report().notes)
    assert [loop.length for loop in fast.report().loops] == ([4, 19, 19] if axis == "inner" else [19, 40, 40])


def test_any_number_of_steps_inside_layers() -> None:
    program = LayersOverTime().double()
    fast = compiled(program)
    for size in (LONG, LONG + 2, LONG + 5):
        assert_equal_twice(fast, program, size, B, N)
    assert any("not recorded" in note for note in fast.report().notes)


def test_weights_are_read_live() -> None:
    program = LayersOverTime().double()
    fast = compiled(program)
    x = torch.randn(LONG, B, N, dtype=torch.float64)
    run(fast, x)
    with torch.no_grad():
        program.cells[2].keep.weight.mul_(-1)
    assert_equal(fast, program, x)
    assert len(fast.entries) == 1
    assert fast.report().runs


def test_the_emitted_module_is_copied_and_saved_whole() -> None:
    program = DeepUnfolded().double()
    x = torch.randn(4, B, N, dtype=torch.float64)
    fast = compiled(program, "jacobi")
    run(fast, x)
    module = fast.graph_module
    assert module is not None
    with torch.no_grad():
        (expected,) = module(x)
        for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert torch.equal(other(x)[0], expected)
    assert_equal_twice(copy.deepcopy(fast), program, *x.shape, exact=False)


def test_emitted_code_calls_the_loop_inside_by_its_name() -> None:
    fast = compiled(LayersOverTime())
    run(fast, torch.randn(LONG, B, N))
    assert fast.graph_module is not None
    step = fast.graph_module.get_submodule("loop0.body")
    assert "self.loop0_loop0(" in step.code
    assert "gauss_seidel" in step.get_submodule("loop0_loop0").code


class Deep(nn.Module):
    """One network of layers, applied again and again."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList(Cell() for _ in range(COLUMNS))

    def forward(self, x: Tensor) -> Tensor:
        u = torch.zeros_like(x[0])
        for x_t in x:
            u = torch.exp(-u)
            for cell in self.cells:
                u = cell(x_t, u)
        return u


def test_weights_of_layers_inside_a_loop_are_not_stacked_at_every_step() -> None:
    program, x = Deep().double(), torch.randn(5, B, N, dtype=torch.float64)
    with torch.no_grad():
        recorded = capture(program, x)
        decision = schedule(recorded, partition(recorded), "auto", "eager")
    (recurrence,) = [choice for choice in decision.choices if choice.repeat == "loop0_loop0"]
    assert [str(part) for part in recurrence.parts] == [f"loop0_loop0[0:{COLUMNS}]"]
    assert any("stack what the steps read, anew in every step" in one.reason for one in recurrence.rejected)
    assert_equal_twice(compiled(program), program, *x.shape)


def test_choices_of_loops_inside_follow_that_of_the_loop() -> None:
    chosen = Candidate("", "eager", 2.0, "measured", "")
    inner = Choice("inner", (Steps("inner", 0, 10),), chosen)
    outer = Choice("outer", (Steps("outer", 0, 4),), chosen, inside=(inner,))
    assert list(outer.all()) == [outer, inner]


class Settling(nn.Module):
    """The same map again and again, which settles, around another such map."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(4):
            for _ in range(60):
                x = torch.cos(x) * 0.1 + torch.sin(x) * 0.2
            x = torch.sigmoid(x) * torch.tanh(x) + 0.5
        return x


@pytest.mark.parametrize("text", ["gs", "loop0", "fixed_point(loop0(fixed_point(loop0_loop0)))"])
def test_loops_that_settle_are_named_where_they_lie_in_others_and_stop_there(text: str) -> None:
    fast = compiled(Settling(), text)
    assert_equal_twice(fast, Settling(), B, N)
    assert "fixed_point(loop0[0:4](fixed_point(loop0_loop0[0:60])))" in str(fast.schedule)
    inner = [one for one in fast.report().runs if one.loop == "loop0_loop0"]
    assert {one.method for one in inner} == {"fixed_point"}
    assert all(one.sweeps < 60 for one in inner)


def test_a_loop_that_settles_may_sweep_the_one_inside() -> None:
    text = "fixed_point(loop0[0:4](jacobi(loop0_loop0[0:60], atol=0, rtol=0)))"
    fast = compiled(Settling(), text)
    assert_equal_twice(fast, Settling(), B, N, exact=False)
    assert text in str(fast.schedule)


# Random nests.


class Drawn(nn.Module):
    """A nest of `levels` loops; each op between the loops is drawn."""

    def __init__(self, levels: tuple[int, ...], ops: tuple[int, ...], shared: bool, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.levels, self.ops = levels, ops
        self.cells = nn.ModuleList(Cell() for _ in range(1 if shared else levels[0]))

    def forward(self, x: Tensor) -> Tensor:
        state, kept = torch.zeros_like(x[0]), []
        for i in range(self.levels[0]):
            cell = self.cells[i % len(self.cells)]
            state = self._between(state, x[i % len(x)], self.ops[0])
            state, steps = self._inside(cell, state, x, 1)
            kept.append(steps)
            state = self._between(state, x[0], self.ops[-1])
        return torch.stack(kept)

    def _inside(self, cell: Cell, state: Tensor, x: Tensor, level: int) -> tuple[Tensor, Tensor]:
        steps = []
        for k in range(self.levels[level]):
            if level + 1 < len(self.levels):
                state, inner = self._inside(cell, self._between(state, x[1], self.ops[1]), x, level + 1)
                steps.append(inner.sum(0))
            else:
                state = cell(x[k % len(x)] if self.ops[0] else x[0], state)
                steps.append(state * 2 if self.ops[-1] else state)
        return state, torch.stack(steps)

    def _between(self, state: Tensor, x: Tensor, op: int) -> Tensor:
        return (state, torch.relu(state), state.exp() * 0.1, state + x, torch.zeros_like(state))[op]


@settings(max_examples=8, deadline=None)
@given(
    levels=st.lists(st.integers(3, 6), min_size=2, max_size=3).map(tuple),
    ops=st.lists(st.integers(0, 4), min_size=2, max_size=3).map(lambda ops: tuple((ops * 2)[:3])),
    shared=st.booleans(),
    method=st.sampled_from(["gs", "jacobi"]),
    seed=st.integers(0, 99),
)
def test_random_nests_are_the_program(
    levels: tuple[int, ...], ops: tuple[int, ...], shared: bool, method: str, seed: int
) -> None:
    program = Drawn(levels, ops, shared, seed).double()
    fast = compiled(program, method)
    assert_equal_twice(fast, program, 3, B, N, exact=method == "gs")


def test_the_check_knows_how_closely_the_loops_inside_are_solved() -> None:
    program = Drawn((3, 3, 4), (0, 0, 0), True, 1).double()
    fast = compiled(program, "jacobi")
    assert_equal_twice(fast, program, 3, B, N, exact=False)
    assert fast.report().stop == 1e-12
    assert "(jacobi(" in str(fast.schedule)


def test_three_levels_are_told_in_the_pattern() -> None:
    program = DeepUnfolded()
    with torch.no_grad():
        parts = partition(capture(program, torch.randn(4, B, N)))
    assert pattern_text(parts.system).splitlines() == [
        "loop0 x 3: x_t reads x_(t-1)",
        "  loop0_loop0_inputs x 4: steps are independent",
        "  loop0_loop0 x 4: x_t reads x_(t-1)",
        "    loop0_loop0_loop0 x 11: x_t reads x_(t-1)",
        "  loop0_loop0_outputs x 4: steps are independent",
    ]
