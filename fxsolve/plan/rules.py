"""The decision table for one repeat.

    steps stop on a value         -> in order: each shows whether there is a next one; or several in one compiled call,
                                     where these give the same bits
    a step runs loops of its own  -> these as this table says, by what they read in the first step; then in order, or in
                                     one sweep where neither its steps nor those of these loops read one another
    a loop inside reads stacks    -> in order: the stacks would be made anew in every step
    no step reads another         -> one Jacobi sweep, if the body can be batched
    x <- f(x) with nothing else   -> in order, stopping at the fixed point; fused, if most of its steps are needed
    only adds up                  -> all terms at once and one sum, unless bitwise equality is asked for
    a buffer that is read whole   -> in order | fused, unless it is proved that no step reads its own or later entries;
                                     then each entry of a step once too (incremental), if all steps take long enough,
                                     also in a window that looks ahead, if sweeps settle several steps each
    a step affine in its carry    -> a scan too, if the Jacobian is diagonal or has blocks of at most 16 x 16
    any other state               -> Newton too, under the same condition
    otherwise                     -> the cheapest of: in order | in order, fused | Jacobi | Jacobi in windows; in
                                     smaller and smaller batches, where most samples settle early

Costs are measured on the program's own inputs: the time of a step, of a sweep, of a Newton step or a scan, and the
number of them that the stop test takes. Compiled steps, and what solves a recurrence otherwise, must be `MARGIN` times
faster than the steps in order to be chosen; the one sweep of steps that do not read one another, and one sum, only no
slower. The Jacobian of a step is not traced where the loop is short, or where two plain sweeps cost more than all its
steps, and steps are not compiled where little of their time is overhead, or beyond what `budget` allows for them.

For inputs that need more sweeps, sweeping ends where it has cost as much as running in order, so the worst case is
twice that. On request only: Picard, sliding windows and chunks, which pay for their kind of loop alone; diagonal
Jacobians in place of others, which may need more sweeps than Jacobi; and levels, which save Jacobi its tests alone.
"""

from dataclasses import replace

from fxsolve.errors import PartitionError
from fxsolve.ir.nested import loops_inside
from fxsolve.ir.reads import has_carry, is_autonomous
from fxsolve.ir.spec import Repeat, Stacked
from fxsolve.plan.complete import in_order, in_order_around
from fxsolve.plan.decision import Candidate, Choice
from fxsolve.plan.method import Iterative, whole
from fxsolve.plan.methods.fixed_point import FixedPoint
from fxsolve.plan.methods.fused import Fused
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.sums import Sum
from fxsolve.plan.nests import choose_inside
from fxsolve.plan.probe import ProbeRun, first_window, run_parts, shorten, step_seconds, sweep_seconds
from fxsolve.plan.proofs import CAUSAL
from fxsolve.plan.schedule import text_of
from fxsolve.plan.trial import Priced, Refined, Situation, Trial, Weighed, ruled_out

MARGIN = 1.1


def choose(situation: Situation) -> tuple[Choice, ProbeRun]:
    """Decide for one repeat, and solve it once so that later equations can be measured."""
    repeat = situation.repeat
    if loops_inside(repeat):
        return _choose_nest(situation)
    if repeat.until is not None:
        return _choose_until(situation)
    if situation.solves > 1 and any(isinstance(read, Stacked) for read in repeat.reads):
        return _sequential(situation, step_seconds(repeat, situation.values), (_copies(repeat),))
    if is_autonomous(repeat):
        return _choose_fixed_point(situation)
    step = step_seconds(repeat, situation.values)
    if not has_carry(repeat):
        return _choose_map(situation, step)
    if situation.proofs.adds_up:
        return _choose_sum(situation, step)
    return _choose_recurrence(situation, step)


def _choose_until(situation: Situation) -> tuple[Choice, ProbeRun]:
    repeat = situation.repeat
    parts = (in_order(repeat),)
    runs = [run_parts(repeat, situation.values, parts) for _ in range(2)]  # the first one warms caches up
    run = min(runs, key=lambda one: one.seconds)
    chosen = Candidate(text_of(parts), "eager", run.seconds, "measured", "each step may be the last")
    found = Choice(repeat.name, parts, chosen, step_seconds=run.seconds / max(run.sweeps, 1), sweeps=run.sweeps)
    other = _refined(situation, Trial(chosen, parts, run.sweeps))
    if other is None:
        return found, run
    if other.sweeps is None or other.seconds * MARGIN > run.seconds:
        return replace(found, rejected=(other.candidate,)), run
    return replace(found, parts=other.parts, chosen=other.candidate, rejected=(chosen,)), run


def _choose_nest(situation: Situation) -> tuple[Choice, ProbeRun]:
    repeat, values = situation.repeat, situation.values
    inside = choose_inside(situation, choose)
    parts = (in_order_around(repeat, tuple(part for choice in inside for part in choice.parts)),)
    if repeat.until is None:
        run_parts(shorten(repeat, 1), values, parts, situation.asked)  # compiles what is compiled
    run = run_parts(repeat, values, parts, situation.asked)
    loops = ", ".join(choice.repeat for choice in inside)
    chosen = Candidate(str(in_order_around(repeat, ())), "eager", run.seconds, "measured", f"each step runs {loops}")
    step = run.seconds / max(run.sweeps, 1)
    sweeps = run.sweeps if run.sweeps < repeat.length else None
    in_turn = Choice(repeat.name, parts, chosen, step_seconds=step, sweeps=sweeps, inside=inside)
    if has_carry(repeat) or repeat.until is not None:
        return in_turn, run
    choice, at_once = _choose_map(situation, step)
    if choice.sweeps is None:
        return replace(in_turn, rejected=choice.rejected), run
    return replace(choice, inside=inside), at_once


def _copies(repeat: Repeat) -> Candidate:
    reason = "it would stack what the steps read, anew in every step of the loop around it"
    return ruled_out((Jacobi(whole(repeat)),), reason).candidate


def _choose_fixed_point(situation: Situation) -> tuple[Choice, ProbeRun]:
    repeat = situation.repeat
    step = step_seconds(repeat, situation.values)  # first: it warms caches up
    parts = (FixedPoint(whole(repeat)),)
    run = run_parts(repeat, situation.values, parts)
    if run.sweeps == repeat.length or run.seconds > step * repeat.length:
        return _choose_endless(situation, step, run)
    reason = f"every step is the same map: step {run.sweeps} of {repeat.length} changed nothing, bit for bit"
    chosen = Candidate(text_of(parts), "eager", run.seconds, "measured", reason)
    # A loop that settles is solved exactly, bit for bit, by stopping there: compiled steps would round otherwise.
    settles = run.sweeps <= repeat.length // 2
    choice = Choice(repeat.name, parts, chosen, step_seconds=step, sweeps=run.sweeps, by_sweeps=True)
    return (choice, run) if settles else _or_fused(situation, choice, step, run)


def _choose_endless(situation: Situation, step: float, asking: ProbeRun) -> tuple[Choice, ProbeRun]:
    """Nearly each step was needed: in order, where to ask after each whether it was the last costs something."""
    repeat = situation.repeat
    in_turn = run_parts(repeat, situation.values, (whole(repeat),))
    is_free = asking.seconds <= in_turn.seconds * MARGIN
    parts, run = ((FixedPoint(whole(repeat)),), asking) if is_free else ((whole(repeat),), in_turn)
    some = f"{asking.sweeps} of the {repeat.length} steps were needed"
    needed = "each of the steps was needed" if asking.sweeps == repeat.length else some
    reason = f"every step is the same map, and {needed}"
    chosen = Candidate(text_of(parts), "eager", run.seconds, "measured", reason)
    asked = Candidate(str(FixedPoint(whole(repeat))), "eager", asking.seconds, "measured", "it asks after each step")
    choice = Choice(repeat.name, parts, chosen, () if is_free else (asked,), step_seconds=step, by_sweeps=True)
    return _or_fused(situation, replace(choice, sweeps=asking.sweeps if is_free else None), step, run)


def _or_fused(situation: Situation, choice: Choice, step: float, run: ProbeRun) -> tuple[Choice, ProbeRun]:
    """The choice, or compiled steps where these are faster."""
    fused = Fused.price(situation, Weighed(situation.repeat, step))
    for trial in fused:
        if trial.sweeps is not None and trial.seconds * MARGIN < run.seconds:
            rejected = (choice.chosen, *choice.rejected)
            compiled = Choice(choice.repeat, trial.parts, trial.candidate, rejected, step_seconds=step)
            return replace(compiled, by_sweeps=choice.by_sweeps), run
    return replace(choice, rejected=(*choice.rejected, *(trial.candidate for trial in fused))), run


def _choose_map(situation: Situation, step: float) -> tuple[Choice, ProbeRun]:
    repeat = situation.repeat
    at_once = Jacobi(whole(repeat))
    try:
        window = first_window(repeat, situation.values, repeat.length)
    except PartitionError as error:
        return _sequential(situation, step, (ruled_out((at_once,), str(error)).candidate,))
    sweep = sweep_seconds(window)
    parallel = Candidate(str(at_once), "eager", sweep, "measured", "no step reads another: one sweep")
    if sweep > step * repeat.length:
        choice, run = _sequential(situation, step, (parallel,))
        # A few steps are quicker than their share of all: what these give does not stay in the caches.
        if min(run.seconds, run_parts(repeat, situation.values, (whole(repeat),)).seconds) <= sweep:
            return choice, run
    choice = Choice(repeat.name, (at_once,), parallel, (_derived(repeat, step),), "", step, sweep, 1)
    return choice, run_parts(repeat, situation.values, (at_once,), situation.stop)


def _choose_sum(situation: Situation, step: float) -> tuple[Choice, ProbeRun]:
    repeat = situation.repeat
    (trial,) = Sum.price(situation, Weighed(repeat, step))
    if trial.sweeps is None or trial.seconds > step * repeat.length:
        others = tuple(method for method in situation.methods if method is not Sum)
        choice, run = _choose_recurrence(replace(situation, methods=others), step)
        return replace(choice, rejected=(*choice.rejected, trial.candidate)), run
    choice = Choice(repeat.name, trial.parts, trial.candidate, (_derived(repeat, step),), step_seconds=step)
    return choice, run_parts(repeat, situation.values, trial.parts)


def _choose_recurrence(situation: Situation, step: float) -> tuple[Choice, ProbeRun]:
    repeat, causality = situation.repeat, situation.proofs.causality
    trials = _trials(situation, step)
    by_sweeps = any(map(_is_by_sweeps, trials))
    finished = [trial for trial in trials if trial.sweeps is not None]
    rejected = [trial.candidate for trial in trials if trial.sweeps is None]
    best = min(finished, key=lambda trial: trial.seconds, default=None)
    if best is not None and (other := _refined(situation, best)) is not None:
        finished.append(other)
        best = min(best, other, key=lambda trial: trial.seconds)
    in_turn = _derived(repeat, step)
    if best is None or best.seconds * MARGIN > step * repeat.length:
        others = (*(trial.candidate for trial in finished), *rejected)
        choice, run = _sequential(situation, step, others)
        # One step over and over is quicker than its share of all, each of which may have weights of its own.
        if best is None or not _beats(situation, best, run):
            return replace(choice, causal=causality.found, depth=causality.depth, by_sweeps=by_sweeps), run
        in_turn = replace(choice.chosen, reason="T steps")
    others = (in_turn, *(trial.candidate for trial in finished if trial is not best), *rejected)
    choice = Choice(repeat.name, best.parts, best.candidate, others, causality.found, step, best.sweep)
    choice = replace(choice, sweeps=best.sweeps or None, depth=causality.depth, by_sweeps=by_sweeps)
    return choice, run_parts(repeat, situation.values, best.parts, situation.stop)


def _beats(situation: Situation, best: Trial, run: ProbeRun) -> bool:
    """Whether a trial takes less than the steps in order, as they were measured; twice, as any run may be disturbed."""
    again = run_parts(situation.repeat, situation.values, (whole(situation.repeat),))
    return best.seconds * MARGIN <= min(run.seconds, again.seconds)


def _is_by_sweeps(trial: Trial) -> bool:
    return isinstance(trial.parts[0], Iterative) and trial.candidate.basis != "not tried"


def _trials(situation: Situation, step: float) -> tuple[Trial, ...]:
    """Everything that may solve a recurrence but its steps in order, each method priced behind those before it."""
    weighed = Weighed(situation.repeat, step)
    obstacle = situation.proofs.causality.obstacle
    if obstacle is not None:
        weighed = replace(weighed, trials=(ruled_out((Jacobi(whole(situation.repeat)),), obstacle),))
    for method in situation.methods:
        if issubclass(method, Priced) and (obstacle is None or CAUSAL not in method.requires):
            weighed = replace(weighed, trials=(*weighed.trials, *method.price(situation, weighed)))
    return weighed.trials


def _refined(situation: Situation, best: Trial) -> Trial | None:
    """The best trial with other options of its method, where these may be faster."""
    method = best.parts[0]
    return method.refine(situation, best) if isinstance(method, Refined) else None


def _sequential(situation: Situation, step: float, others: tuple[Candidate, ...]) -> tuple[Choice, ProbeRun]:
    run = run_parts(situation.repeat, situation.values, (whole(situation.repeat),))
    derived = _derived(situation.repeat, step)
    chosen = replace(derived, seconds=run.seconds, basis="measured", reason="nothing else is faster")
    return Choice(situation.repeat.name, (whole(situation.repeat),), chosen, others, step_seconds=step), run


def _derived(repeat: Repeat, step: float) -> Candidate:
    """The cost of running in order, from the cost of a step."""
    return Candidate(str(whole(repeat)), "eager", step * repeat.length, "derived", "T steps")
