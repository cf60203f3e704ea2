"""Price the methods that use the Jacobian of a step: a scan where a step is affine, Newton steps elsewhere."""

import math
from dataclasses import replace

from fxsolve.errors import PartitionError
from fxsolve.lower.linearize import linearize
from fxsolve.lower.readable import readable
from fxsolve.plan import methods
from fxsolve.plan.decision import Candidate
from fxsolve.plan.facts import Facts
from fxsolve.plan.method import Part, Steps, steps_of, whole
from fxsolve.plan.probe import first_window, least_seconds
from fxsolve.plan.schedule import text_of
from fxsolve.plan.trial import Situation, Trial, ruled_out
from fxsolve.solvers.iterate import Method, State
from fxsolve.solvers.newton import NewtonSolver
from fxsolve.solvers.scan import ScanSolver
from fxsolve.solvers.window import Window

MOST_STATE = 16  # entries that depend on one another, unless the Jacobian is diagonal
LINEAR_SECONDS = 5e-3  # loops shorter than this are not worth tracing their Jacobian
JACOBIAN_BYTES = 2 << 30


def try_linear(situation: Situation, facts: Facts, step: float, sweep: float | None) -> Trial:
    """A scan or Newton steps over all of the loop, or the reason why not; `sweep` is the cost of a plain sweep.

    What is known of the loop is asked first, what is measured already next: tracing the Jacobian takes longest.
    """
    repeat = situation.repeat
    parts = _parts(situation, facts)
    obstacle = _obstacle(situation, facts, step * repeat.length, sweep)
    if obstacle or facts.layout is None:
        return ruled_out(parts, obstacle)
    length = steps_of(parts[0]).stop
    try:
        linear = readable(linearize(repeat, facts.layout, length))
        window = first_window(repeat, situation.values, length)
    except PartitionError as error:
        return ruled_out(parts, str(error))
    if facts.affine:
        return _try_scan(ScanSolver(linear, facts.layout), window, parts, step)
    return _try_newton(NewtonSolver(linear, facts.layout, facts.limits, situation.stop), window, parts, step)


def _parts(situation: Situation, facts: Facts) -> tuple[Part, ...]:
    """A scan over all steps, or Newton over as many at once as their Jacobians may hold memory for."""
    steps = whole(situation.repeat)
    if facts.affine:
        return (methods.Scan(steps),)
    windows = max(1, -(-_jacobian_bytes(situation, facts) // JACOBIAN_BYTES))
    length = -(-steps.stop // windows)
    starts = range(0, steps.stop, length)
    return tuple(methods.Newton(Steps(steps.repeat, low, min(low + length, steps.stop))) for low in starts)


def _obstacle(situation: Situation, facts: Facts, total: float, sweep: float | None) -> str:
    """What rules the Jacobian out before it is traced."""
    if facts.layout is None:
        return facts.obstacle
    if facts.size > MOST_STATE:
        return f"{facts.size} entries of the state depend on one another, more than {MOST_STATE}"
    if total < LINEAR_SECONDS:
        return f"in order, the loop takes less than {LINEAR_SECONDS * 1e3:g} ms"
    if sweep is not None and 2 * sweep > total:
        return "two sweeps alone cost more than all steps in order"
    if facts.affine and _jacobian_bytes(situation, facts) > JACOBIAN_BYTES:
        return f"the Jacobians of all steps hold more than {JACOBIAN_BYTES >> 30} GiB"
    return ""


def _try_scan(method: ScanSolver, window: Window, parts: tuple[Part, ...], step: float) -> Trial:
    count = _count(method, method.init(window), window.length)
    if count is None:
        reason = f"the products of {window.length} maps are not within rounding of the steps"
        return Trial(Candidate(text_of(parts), "eager", None, "measured", reason), parts, None)
    seconds = least_seconds(lambda: method.init(window)) * count
    reason = f"a step is affine: one scan at the cost of {seconds / step:.3g} steps"
    return Trial(Candidate(text_of(parts), "eager", seconds, "measured", reason), parts, count)


def _try_newton(method: NewtonSolver, window: Window, parts: tuple[Part, ...], step: float) -> Trial:
    length = window.length
    first = method.init(window)
    cost = least_seconds(lambda: method.step(first))
    limit = int(step * length / cost)
    count = _count(method, first, min(limit, length))
    if count is None:
        reason = f"a Newton step costs {cost / step:.3g} steps, and {limit} of them did not converge"
        return Trial(Candidate(text_of(parts), "eager", None, "measured", reason), parts, None)
    if limit < length:
        # As for Jacobi, Newton steps that cost as much as all steps in order have had their chance.
        test = replace(method.stop, max_sweeps=limit)
        parts = tuple(methods.Newton(steps_of(part), stop=test) for part in parts)
    reason = f"{count} Newton steps, each at the cost of {cost / step:.3g} steps, for every {length} steps"
    return Trial(Candidate(text_of(parts), "eager", cost * count * len(parts), "derived", reason), parts, count)


def _count(method: Method, state: State, limit: int) -> int | None:
    """The number of sweeps after which the test of a method holds, None if it does not within `limit`."""
    while (verdict := method.terminate(state)) is None and len(state.sizes) < limit:
        state = method.step(state)
    return len(state.sizes) if verdict in ("exact", "converged") else None


def _jacobian_bytes(situation: Situation, facts: Facts) -> int:
    """Memory of the Jacobians of all steps."""
    if facts.layout is None:
        return 0
    return situation.repeat.length * math.prod(facts.layout.batch) * facts.size**2 * 8
