"""A schedule that names some equations is completed with the others, and with nothing else."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fxsolve.ir.spec import System
from fxsolve.plan.complete import complete, names, sequential
from fxsolve.plan.schedule import GaussSeidel, Schedule
from fxsolve.plan.verify import verify_schedule
from tests.ir.samples import systems
from tests.plan.schedules import schedules
from tests.plan.test_text import leaves

pairs = systems(least=1).flatmap(lambda system: st.tuples(st.just(system), schedules(system)))


def without(schedule: Schedule, dropped: set[str]) -> tuple[Schedule, ...]:
    """The schedule without the leaves of some equations."""
    if isinstance(schedule, GaussSeidel):
        return (GaussSeidel(tuple(left for child in schedule.children for left in without(child, dropped))),)
    return () if dropped.intersection(names(schedule)) else (schedule,)


@settings(max_examples=50, deadline=None)
@given(pairs, st.data())
def test_a_completed_schedule_solves_every_equation_and_keeps_what_was_named(
    pair: tuple[System, Schedule], data: st.DataObject
) -> None:
    system, schedule = pair
    dropped = data.draw(st.sets(st.sampled_from([equation.name for equation in system.equations])))
    part = GaussSeidel(without(schedule, dropped))
    found = complete(part, system)
    verify_schedule(found, system)
    kept = list(leaves(part))
    assert [leaf for leaf in leaves(found) if not dropped.intersection(names(leaf))] == kept
    added = [leaf for leaf in leaves(found) if dropped.intersection(names(leaf))]
    assert added == [sequential(equation) for equation in system.equations if equation.name in dropped]


@settings(max_examples=25, deadline=None)
@given(pairs)
def test_a_schedule_that_names_all_is_complete(pair: tuple[System, Schedule]) -> None:
    system, schedule = pair
    assert complete(schedule, system) is schedule


@settings(max_examples=25, deadline=None)
@given(pairs)
def test_one_equation_alone_is_completed_in_program_order(pair: tuple[System, Schedule]) -> None:
    system, _ = pair
    for equation in system.equations:
        order = list(dict.fromkeys(names(complete(sequential(equation), system))))
        assert order == [one.name for one in system.equations]
