"""What every pass does to one small program: the system before and behind it, as kept in `tests/golden/passes`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.capture.program import Program
from fxsolve.ir.bodies import close_repeat, open_repeat
from fxsolve.ir.spec import Equation, Repeat, System
from fxsolve.ir.verify import verify_system
from fxsolve.loops.find import find_loops
from fxsolve.loops.generalize.blend import Blend, Series
from fxsolve.loops.generalize.counting import Lengths
from fxsolve.loops.generalize.numbers import read_numbers
from fxsolve.loops.growing.ends import join_growth
from fxsolve.loops.growing.lists import chain_lists
from fxsolve.loops.nesting.lift import lift_loops
from fxsolve.loops.nesting.nests import nested_system
from fxsolve.loops.partition import GRAPH_PASSES, SYSTEM_PASSES, find_inside
from fxsolve.loops.rolling.extract import extract
from fxsolve.rewrite.copies import drop_clones, drop_views, simplify_copies
from fxsolve.rewrite.joint import split_passes
from fxsolve.rewrite.lags import unit_lags
from fxsolve.rewrite.merge import flatten_buffers, merge_selections
from fxsolve.rewrite.pipeline import hoist_invariants, rewrite, simplify, split
from fxsolve.rewrite.prefix import find_prefixes
from fxsolve.rewrite.prune import prune
from fxsolve.rewrite.recorded.added_rows import add_rows
from fxsolve.rewrite.recorded.byte_masks import mask_bytes
from fxsolve.rewrite.recorded.idle_writes import drop_idle_writes
from fxsolve.rewrite.recorded.layers import open_layers
from fxsolve.rewrite.recorded.masked import choose_masked
from fxsolve.rewrite.recorded.memory import pin_layouts, resolve_flags
from fxsolve.rewrite.recorded.one_entry import write_entries
from fxsolve.rewrite.recorded.one_piece import write_pieces
from fxsolve.rewrite.recorded.overwritten import join_overwritten
from fxsolve.rewrite.recorded.read_back import read_back
from fxsolve.rewrite.recorded.repeated import settle_writes
from fxsolve.rewrite.recorded.unbound import read_unbound
from fxsolve.rewrite.recorded.undone_views import undo_views
from fxsolve.rewrite.restrict import restrict
from fxsolve.rewrite.rows import read_rows
from fxsolve.rewrite.slices import lift_slices
from fxsolve.rewrite.sums.accumulate import split_sums
from fxsolve.rewrite.sums.fold import fold_sums, is_sum
from fxsolve.stages import capture, partition
from tests.goldens import check_golden, check_names
from tests.loops import small
from tests.loops.passes import Edit, edited, flat_system, full_text, rolled_system
from tests.loops.small import N, T, numbers

FOLDER = "passes"

Systems = Iterator[tuple[str, System]]


@dataclass(frozen=True)
class Case:
    """A pass, a program that shows it, and the systems before and behind it, each with a heading."""

    name: str
    program: Callable[..., Any]
    inputs: tuple[Any, ...]
    systems: Callable[[Program], Systems]

    def __str__(self) -> str:
        return self.name


# How a pass is shown.


def _on_graph(step: Callable[[fx.Graph], fx.Graph], program: Program) -> Systems:
    """A pass of the graph, by the loops that are found in it."""
    graph = program.module.graph
    yield "before", rolled_system(graph)
    yield "behind", rolled_system(step(graph))


def _on_flat_graph(step: Callable[[Program], fx.Graph], program: Program) -> Systems:
    yield "before", flat_system(program.module.graph)
    yield "behind", flat_system(step(program))


def _on_system(before: Callable[[Program], System], step: Callable[[System], System], program: Program) -> Systems:
    system = before(program)
    yield "before", system
    yield "behind", step(system)


def _on_repeats(edits: tuple[Edit, ...], edit: Edit, program: Program) -> Systems:
    """An edit of open repeats, behind those that come before it."""
    system = _rolled(program)
    for earlier in edits:
        system = edited(system, earlier)
    return _on_system(lambda _: system, partial(edited, edit=edit), program)


def _rolled(program: Program) -> System:
    return rolled_system(program.module.graph)


def _rewritten(program: Program) -> System:
    """The system in front of `split`."""
    return prune(simplify(_rolled(program)))


def _whole(program: Program) -> System:
    return partition(program).system


def _flat_and_rolled(program: Program) -> Systems:
    yield "before", flat_system(program.module.graph)
    yield "behind", _rolled(program)


def _chained(program: Program) -> fx.Graph:
    copied = fx.Graph()
    copied.output(copied.graph_copy(program.module.graph, {}))
    chain_lists(copied)
    return copied


def _nested(program: Program) -> Systems:
    found = find_loops(program.module.graph)
    yield "before", extract(found.graph, found.calls, found.rolling.loops)
    yield "behind", nested_system(found.graph, found.calls, found.rolling.loops, find_inside).system


def _lifted(program: Program) -> Systems:
    """A loop inside a step that is the same at every step comes to stand in a block in front of the loop."""
    return _on_system(lambda program: rewrite(_rolled(program)), lift_loops, program)


def _without_sums(system: System) -> System:
    equations: list[Equation] = []
    for equation in system.equations:
        equations += _apart(equation) if isinstance(equation, Repeat) else [equation]
    return replace(system, equations=tuple(equations))


def _apart(repeat: Repeat) -> list[Equation]:
    opened = open_repeat(repeat)
    sums = split_sums(opened)
    return [close_repeat(opened), *sums] if opened.is_wanted() else sums


def _folded(system: System) -> System:
    equations: list[Equation] = []
    for equation in system.equations:
        equations += fold_sums(equation) if isinstance(equation, Repeat) and is_sum(equation) else [equation]
    return replace(system, equations=tuple(equations))


def _passes(program: Program) -> Systems:
    system = partition(program).system
    passes = split_passes(program, system)
    yield "before", system
    yield "forward", passes.forward
    yield "backward", passes.backward


def _restricted(program: Program) -> Systems:
    backward = split_passes(program, partition(program).system).backward
    cotangents = backward.inputs[-2:]
    yield "before", backward
    yield f"without {cotangents[0]}", restrict(backward, cotangents, cotangents[:1]).system


def _blended(program: Program) -> Systems:
    """Recordings of 5 and 7 steps tell those of 11."""
    two, three = (_captured(small.loop, (numbers(length, N),)) for length in (7, 11))
    one, other = partition(program).system, partition(two).system
    lengths = Lengths(T, 7, 11)
    found = read_numbers(program.stream.entries, two.stream.entries, three.stream.entries, lengths)
    yield "5 steps", one
    yield "7 steps", other
    yield "11 steps", Blend(lengths, Series({}), Series({}), found).system(one, other)


EDITS: tuple[Edit, ...] = (
    simplify_copies,
    drop_clones,
    drop_views,
    flatten_buffers,
    merge_selections,
    lift_slices,
    find_prefixes,
    read_rows,
    unit_lags,
)
SEQUENCE, WEIGHT = numbers(T, N), numbers(N, N)


def _edit(number: int, program: Callable[..., Any], *inputs: Tensor) -> Case:
    edit = EDITS[number]
    return Case(edit.__name__, program, inputs, partial(_on_repeats, EDITS[:number], edit))


CASES = [
    Case("resolve_flags", small.conjugated, (torch.view_as_complex(numbers(T, 2)),),
         partial(_on_flat_graph, lambda program: resolve_flags(program.module.graph))),
    Case("pin_layouts", small.read_by_strides, (WEIGHT,),
         partial(_on_flat_graph, lambda program: pin_layouts(program.module.graph, program.roles))),
    Case("settle_writes", small.masked_at_every_step, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: settle_writes(program.module.graph, program).graph)),
    Case("open_layers", small.attended_while_it_grows, (numbers(1, 1, 4),),
         partial(_on_flat_graph, lambda program: open_layers(program.module.graph))),
    Case("undo_views", small.added_to_rows_of_a_view, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: undo_views(program.module.graph))),
    Case("add_rows", small.rows_added_up, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: add_rows(program.module.graph))),
    Case("drop_idle_writes", small.added_to_its_own_rows, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: drop_idle_writes(program.module.graph))),
    Case("choose_masked", small.set_where_it_is_low, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: choose_masked(program.module.graph))),
    Case("mask_bytes", small.chosen_by_bytes, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: mask_bytes(program.module.graph))),
    Case("write_entries", small.filled_where_it_is_the_step, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: write_entries(program.module.graph, program).graph)),
    Case("write_pieces", small.filled_by_joining, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: write_pieces(program.module.graph))),
    Case("join_overwritten", small.added_and_written, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: join_overwritten(program.module.graph))),
    Case("read_back", small.written_to_be_read, (SEQUENCE,),
         partial(_on_flat_graph, lambda program: read_back(program.module.graph))),
    Case("read_unbound", small.written_while_read, (SEQUENCE,), partial(_on_graph, read_unbound)),
    Case("join_growth", small.grown_and_read_at_its_end, (SEQUENCE,), partial(_on_graph, join_growth)),
    Case("chain_lists", small.a_list_joined_at_every_step, (SEQUENCE,), partial(_on_flat_graph, _chained)),
    Case("find_loops", small.loop, (SEQUENCE,), _flat_and_rolled),
    Case("pad_window", small.grown_and_read_whole, (SEQUENCE,), _flat_and_rolled),
    Case("nested_system", small.layers_over_time, (SEQUENCE,), _nested),
    _edit(0, small.overwritten_whole, SEQUENCE),
    _edit(1, small.copied_and_filled, SEQUENCE),
    _edit(2, small.batches_of_products, numbers(2, N, N), WEIGHT),
    _edit(3, small.pixels, numbers(N, 3, 3)),
    _edit(4, small.pixels, numbers(N, 3, 3)),
    _edit(5, small.steps_of_an_input, SEQUENCE),
    _edit(6, small.filled_and_read_whole, SEQUENCE),
    _edit(7, small.filled_and_read_by_rows, SEQUENCE),
    _edit(8, small.two_steps_back, SEQUENCE),
    Case("simplify", small.pixels, (numbers(N, 3, 3),), partial(_on_system, _rolled, simplify)),
    Case("prune", small.an_output_that_is_not_wanted, (SEQUENCE,), partial(_on_system, _rolled, prune)),
    Case("hoist_invariants", small.the_same_at_every_step, (SEQUENCE, WEIGHT),
         partial(_on_system, _rewritten, hoist_invariants)),
    Case("split_sums", small.with_a_sum, (SEQUENCE,), partial(_on_system, _rewritten, _without_sums)),
    Case("split", small.with_inputs_and_outputs, (SEQUENCE,), partial(_on_system, _rewritten, split)),
    Case("lift_loops", small.one_loop_for_all_steps, (SEQUENCE,), _lifted),
    Case("fold_sums", small.with_a_sum, (SEQUENCE,), partial(_on_system, _whole, _folded)),
    Case("split_passes", small.trained, (numbers(T, 1, N), WEIGHT), _passes),
    Case("restrict", small.trained, (numbers(T, 1, N), WEIGHT), _restricted),
    Case("blend", small.loop, (SEQUENCE,), _blended),
]  # fmt: skip


def _captured(program: Callable[..., Any], inputs: tuple[Any, ...]) -> Program:
    if program is not small.trained:
        with torch.no_grad():
            return capture(program, *inputs)
    return capture(program, *(x.clone().requires_grad_() for x in inputs))


@pytest.mark.filterwarnings("ignore:where received a uint8 condition")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_pass_does_to_its_program_what_is_kept(case: Case) -> None:
    shown = list(case.systems(_captured(case.program, case.inputs)))
    for _, system in shown:
        verify_system(system)
    texts = [full_text(system) for _, system in shown]
    assert len(set(texts)) == len(texts), f"{case} does nothing to {case.program.__name__}"
    parts = (f"{heading}\n\n{text}" for (heading, _), text in zip(shown, texts, strict=True))
    check_golden(f"{FOLDER}/{case}", f"{case} of {case.program.__name__}\n\n" + "\n\n".join(parts) + "\n")


@pytest.mark.parametrize(
    "program",
    [small.overwritten_whole, small.copied_and_filled, small.filled_and_read_whole, small.filled_and_read_by_rows],
)
def test_edits_of_repeats_give_one_by_one_what_they_give_together(program: Callable[..., Any]) -> None:
    system = _rolled(_captured(program, (SEQUENCE,)))
    assert full_text(reduce(edited, EDITS, system)) == full_text(simplify(system)) != full_text(system)


def test_every_pass_has_a_text_and_every_text_a_pass() -> None:
    names = {case.name for case in CASES}
    check_names(FOLDER, names)
    assert {step.__name__ for step in (*GRAPH_PASSES, *SYSTEM_PASSES)} <= names
