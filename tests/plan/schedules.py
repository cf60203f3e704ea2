"""Random schedules that solve a given system."""

from hypothesis import strategies as st

from fxsolve.ir.spec import Block, Equation, System
from fxsolve.plan.method import Chunks, Steps
from fxsolve.plan.methods.fixed_point import FixedPoint
from fxsolve.plan.methods.fused import Fused
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.levels import Levels
from fxsolve.plan.methods.newton import Newton
from fxsolve.plan.methods.picard import Picard
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.methods.sums import Sum
from fxsolve.plan.schedule import Apply, GaussSeidel, Schedule
from fxsolve.solvers.stop import Stop

tolerances = st.sampled_from([0.0, 1e-06, 2.5]) | st.floats(0, 1e300)
stops = st.none() | st.builds(Stop, tolerances, tolerances, st.none() | st.integers(1, 99))


@st.composite
def schedules(draw: st.DrawFn, system: System, fitting: bool = True) -> Schedule:
    """The equations in order: repeats in chunks, each run or swept, and neighbours grouped at random.

    Unless they are to be `fitting`, methods that need steps of one form are among them.
    """
    leaves = [leaf for equation in system.equations for leaf in draw(_leaves(equation, fitting))]
    if len(leaves) == 1 and draw(st.booleans()):
        return leaves[0]
    return GaussSeidel(draw(_grouped(leaves, depth=2)))


@st.composite
def _leaves(draw: st.DrawFn, equation: Equation, fitting: bool) -> list[Schedule]:
    if isinstance(equation, Block):
        return [Apply(equation.name)]
    length = equation.length
    whole = Steps(equation.name, 0, length)
    if draw(st.integers(0, 3)) == 0:
        return [draw(_at_once(whole) if fitting else _at_once(whole) | _of_one_form(whole))]
    chunk = draw(st.integers(1, length))
    regular = list(range(0, length, chunk))
    starts = draw(st.just(regular) | st.sets(st.integers(0, length - 1)).map(lambda cuts: sorted({0, *cuts})))
    steps = [Steps(equation.name, a, b) for a, b in zip(starts, [*starts[1:], length], strict=True)]
    same, method = draw(stops), draw(st.sampled_from([_jacobi, _by_sample, _newton, _quasi_newton, Picard]))
    kinds = draw(st.lists(st.sampled_from(["run", "same", "own"]), min_size=len(steps), max_size=len(steps)))
    return [
        child if kind == "run" else method(child, same if kind == "same" else draw(stops))
        for child, kind in zip(steps, kinds, strict=True)
    ]


@st.composite
def _at_once(draw: st.DrawFn, whole: Steps) -> Schedule:
    """A method that takes all steps."""
    stop = draw(stops)
    window = Jacobi(whole, stop, draw(st.integers(1, 2 * whole.stop)))
    chunks = Jacobi(Chunks(whole, draw(st.integers(1, whole.stop))), stop)
    deep = Levels(whole, draw(st.integers(1, 99)))
    return draw(st.sampled_from([window, chunks, Scan(whole), Levels(whole), deep]))


@st.composite
def _of_one_form(draw: st.DrawFn, whole: Steps) -> Schedule:
    """A method that takes all steps, where they have the form that it needs."""
    return draw(st.sampled_from([Sum(whole), FixedPoint(whole), Fused(whole, draw(st.integers(1, 20)))]))


def _jacobi(steps: Steps, stop: Stop | None) -> Schedule:
    return Jacobi(steps, stop)


def _by_sample(steps: Steps, stop: Stop | None) -> Schedule:
    return Jacobi(steps, stop, samples=(8, 2))


def _newton(steps: Steps, stop: Stop | None) -> Schedule:
    return Newton(steps, stop=stop)


def _quasi_newton(steps: Steps, stop: Stop | None) -> Schedule:
    return Newton(steps, "diagonal", stop)


@st.composite
def _grouped(draw: st.DrawFn, items: list[Schedule], depth: int) -> tuple[Schedule, ...]:
    if depth == 0 or not items:
        return tuple(items)
    start = draw(st.integers(0, len(items)))
    stop = draw(st.integers(start, len(items)))
    if start == stop:
        return tuple(items)
    inner = draw(_grouped(items[start:stop], depth - 1))
    return (*items[:start], GaussSeidel(inner), *items[stop:])
