"""A schedule solves every equation once, behind what it reads; what breaks that is named."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import System, inputs_of, outputs_of
from fxsolve.plan.method import Chunks, Steps, steps_of
from fxsolve.plan.methods.fixed_point import FixedPoint
from fxsolve.plan.methods.fused import Fused
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.levels import Levels
from fxsolve.plan.methods.newton import Newton
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.methods.sums import Sum
from fxsolve.plan.schedule import Apply, GaussSeidel, Schedule
from fxsolve.plan.verify import verify_schedule
from fxsolve.solvers.stop import Stop
from tests.ir.samples import systems
from tests.plan.schedules import schedules
from tests.plan.test_text import SYSTEM, leaves, name_of

pairs = systems(least=1).flatmap(lambda system: st.tuples(st.just(system), schedules(system)))


@settings(max_examples=100, deadline=None)
@given(pairs)
def test_a_schedule_in_program_order_is_accepted(pair: tuple[System, Schedule]) -> None:
    system, schedule = pair
    verify_schedule(schedule, system)


@settings(max_examples=60, deadline=None)
@given(pairs, st.data())
def test_a_schedule_without_one_of_its_leaves_is_refused(pair: tuple[System, Schedule], data: st.DataObject) -> None:
    system, schedule = pair
    row = list(leaves(schedule))
    gone = row.pop(data.draw(st.integers(0, len(row) - 1)))
    with pytest.raises(
        ScheduleError, match=rf"solves \d+ of \d+ steps of |{name_of(gone)}\[|which the schedule has not"
    ):
        verify_schedule(GaussSeidel(tuple(row)), system)


@settings(max_examples=60, deadline=None)
@given(pairs, st.data())
def test_a_leaf_that_comes_twice_is_refused(pair: tuple[System, Schedule], data: st.DataObject) -> None:
    system, schedule = pair
    row = list(leaves(schedule))
    at = data.draw(st.integers(0, len(row) - 1))
    again = data.draw(st.integers(at + 1, len(row)))
    row.insert(again, row[at])
    with pytest.raises(
        ScheduleError, match=rf"{name_of(row[at])} is solved twice|{name_of(row[at])}\[.* cannot follow"
    ):
        verify_schedule(GaussSeidel(tuple(row)), system)


@settings(max_examples=60, deadline=None)
@given(pairs, st.data())
def test_an_equation_before_one_that_it_reads_is_refused(pair: tuple[System, Schedule], data: st.DataObject) -> None:
    system, schedule = pair
    writer = {name: equation for equation in system.equations for name in outputs_of(equation)}
    readers = [equation for equation in system.equations if any(name in writer for name in inputs_of(equation))]
    assume(readers)
    reader = data.draw(st.sampled_from(readers))
    row = list(leaves(schedule))
    early = [leaf for leaf in row if name_of(leaf) == reader.name]
    rest = [leaf for leaf in row if name_of(leaf) != reader.name]
    with pytest.raises(ScheduleError, match=rf"{reader.name} reads \w+, which the schedule has not solved before it"):
        verify_schedule(GaussSeidel((*early, *rest)), system)


@settings(max_examples=60, deadline=None)
@given(pairs, st.data())
def test_ranges_that_overlap_or_leave_a_gap_are_refused(pair: tuple[System, Schedule], data: st.DataObject) -> None:
    system, schedule = pair
    row = list(leaves(schedule))
    places = [k for k, leaf in enumerate(row) if not isinstance(leaf, Apply)]
    assume(places)
    at = data.draw(st.sampled_from(places))
    steps = steps_of(row[at])
    by = data.draw(st.sampled_from([-1, 1]))
    row[at] = replace(steps, start=steps.start + by)
    with pytest.raises(ScheduleError, match=rf"{steps.repeat}\[{steps.start + by}:{steps.stop}\] cannot follow step"):
        verify_schedule(GaussSeidel(tuple(row)), system)


CELL, CELL1 = Steps("cell", 0, 784), Steps("cell1", 0, 4)
FIRST, SECOND = Apply("block0"), Apply("block1")
BAD = [
    ((FIRST, CELL, SECOND), "the schedule solves 0 of 4 steps of cell1"),
    ((FIRST, CELL, SECOND, Steps("cell1", 0, 3)), "the schedule solves 3 of 4 steps of cell1"),
    ((FIRST, CELL, SECOND, Steps("cell1", 0, 5)), r"cell1\[0:5\] cannot follow step 0 of 4; the steps must tile 0:4"),
    ((FIRST, CELL, SECOND, CELL1, Apply("block2")), "names block2, which is no equation; there are block0, cell, "),
    ((FIRST, Apply("cell"), SECOND, CELL1), "cell is a repeat; schedule its steps"),
    ((Steps("block0", 0, 1), CELL, SECOND, CELL1), "block0 is a block and has no steps"),
    ((FIRST, SECOND, CELL, CELL1), "block1 reads b, which the schedule has not solved before it"),
    ((FIRST, Steps("cell", 0, 783), SECOND, Steps("cell", 783, 784), CELL1), "block1 reads b, which"),
    ((FIRST, FIRST, CELL, SECOND, CELL1), "block0 is solved twice"),
    ((FIRST, Jacobi(CELL, Stop(-1.0)), SECOND, CELL1), "cell has atol=-1.0, rtol=0.0; tolerances are finite"),
    ((FIRST, Jacobi(CELL, Stop(0.0, float("nan"))), SECOND, CELL1), "tolerances are finite and not negative"),
    ((FIRST, Newton(CELL, stop=Stop(-1.0)), SECOND, CELL1), "cell has atol=-1.0, rtol=0.0; tolerances are finite"),
    (
        (FIRST, Jacobi(Steps("cell", 0, 9)), Newton(Steps("cell", 9, 784)), SECOND, CELL1),
        "cell is solved by jacobi and newton with a full Jacobian; take one method for all its steps",
    ),
    (
        (FIRST, Newton(Steps("cell", 0, 9), "diagonal"), Newton(Steps("cell", 9, 784)), SECOND, CELL1),
        "cell is solved by newton with a diagonal Jacobian and newton with a full Jacobian",
    ),
    *(
        ((FIRST, part, Steps("cell", 9, 784), SECOND, CELL1), r"\] *[,)].* must be the whole of cell\[0:784\]")
        for part in (Scan(Steps("cell", 0, 9)), Levels(Steps("cell", 0, 9)), Jacobi(Steps("cell", 0, 9), None, 4))
    ),
    ((FIRST, Jacobi(Chunks(CELL, 800)), SECOND, CELL1), "has chunks of 800 steps; cell has 784"),
    ((FIRST, Jacobi(Chunks(CELL, 8), None, 9), SECOND, CELL1), "has chunks and a window; cell takes one of the two"),
    ((FIRST, Jacobi(CELL, None, 0), SECOND, CELL1), "has a window of 0 steps; it needs one or more"),
    ((FIRST, Jacobi(CELL, None, 9, (4,)), SECOND, CELL1), "cell takes no sliding window or chunks beside that"),
    ((FIRST, Jacobi(CELL, samples=(4, 8)), SECOND, CELL1), "in batches of falling sizes, each of 2 or more"),
    ((FIRST, Jacobi(CELL, samples=(4, 1)), SECOND, CELL1), "in batches of falling sizes, each of 2 or more"),
    ((FIRST, Jacobi(CELL, Stop(max_sweeps=0)), SECOND, CELL1), "cell has max_sweeps=0; allow one sweep or more"),
    ((FIRST, Levels(CELL, 0), SECOND, CELL1), "has a depth of 0; every step has a level of 1 or more"),
    ((FIRST, Sum(CELL), SECOND, CELL1), r"sum\(cell\[0:784\]\) needs steps that only add up; those of cell do more"),
    ((FIRST, FixedPoint(CELL), SECOND, CELL1), r"that are all the same map of the step before; write cell\[0:784\]"),
    ((FIRST, Fused(CELL, 4), SECOND, CELL1), "needs steps that read tensors, and of other steps only the one before"),
    ((FIRST, Fused(CELL, 0), SECOND, CELL1), "has 0 steps in a call; it needs one or more"),
]


@pytest.mark.parametrize(("children", "message"), BAD)
def test_every_broken_law_is_named_with_its_equation(children: tuple[Schedule, ...], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        verify_schedule(GaussSeidel(children), SYSTEM)


def test_an_empty_system_has_an_empty_schedule() -> None:
    verify_schedule(GaussSeidel(()), System(("u",), (), ("u",)))
