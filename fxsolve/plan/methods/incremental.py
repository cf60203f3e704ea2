"""Incremental: in order, each entry of each value once, in a step from which on it is final; then swept."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from torch import Tensor

from fxsolve.errors import PartitionError, ScheduleError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.batch import batch
from fxsolve.lower.incremental.build import incremental_program
from fxsolve.lower.incremental.shorten import shortened
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.causality import reads_buffer
from fxsolve.plan.decision import Candidate
from fxsolve.plan.method import Iterative, Option, Part, Steps, WholeMethod, whole
from fxsolve.plan.methods.jacobi import SWEEP_BYTES
from fxsolve.plan.orders import step_order
from fxsolve.plan.probe import count_sweeps, first_window, run_parts
from fxsolve.plan.proofs import BATCHED, CAUSAL, Proofs, Requirement
from fxsolve.plan.purse import GraphRequest
from fxsolve.plan.schedule import text_of
from fxsolve.plan.solver import HeldModule, LoopSolver, Solver
from fxsolve.plan.trial import Priced, Situation, Trial, Weighed, ruled_out
from fxsolve.plan.windows import strictest
from fxsolve.solvers.fuse import FusedChunk
from fxsolve.solvers.incremental import StepProgram, incremental
from fxsolve.solvers.lookahead import lookahead
from fxsolve.solvers.step_order import ByLevel, Lookahead
from fxsolve.solvers.stop import Stop

PLANNED_SECONDS = 20e-3  # loops shorter than this are not worth the seconds that planning takes
STEP_SECONDS = 150e-6  # the least that a step, or a level of steps, took of any sampler measured so far
MOST_GAIN = 4  # compiled stages are faster by no more
SMALLEST_WINDOW = 16
AHEAD = (8, 32)  # steps of a window
LEAST_SETTLED = 4  # steps that a sweep of all settles in the mean: a window settles fewer, and costs more than a step
AHEAD_MARGIN = 1.2  # windows are faster by this, as other draws may settle fewer


@dataclass(frozen=True)
class Incremental(Iterative, WholeMethod, Priced):
    """Each entry of each value of a step once, in a step from which on it is final, and before anything reads it.

    The T steps together are one evaluation of the model, where each step in order is one. Sweeps S <- F(S) follow until
    `stop`, most often one; with a `window`, of the next so many steps at a time. With `unroll=1` the stages of a step
    are compiled by inductor.

    Steps between which there is no chain are computed at once, in so many `levels`; one by one if these are T. With a
    `lookahead`, the next so many steps are, from guesses of one another, again and again: each time what they may
    change is, and no more, and the next begins behind the steps that have settled.
    """

    name: ClassVar[str] = "incremental"
    requires: ClassVar[tuple[Requirement, ...]] = (CAUSAL, BATCHED)
    options: ClassVar[tuple[Option, ...]] = (
        Option("levels", lambda reader: reader.count("level")),
        Option("lookahead", lambda reader: reader.count("step")),
        Option("window", lambda reader: reader.count("step")),
        Option("unroll", lambda reader: reader.count("step")),
    )
    by_name: ClassVar[bool] = True

    child: Steps
    stop: Stop | None = None
    levels: int | None = None
    lookahead: int | None = None
    window: int | None = None
    unroll: int | None = None
    program: StepProgram | None = field(default=None, compare=False, repr=False)

    @property
    def remark(self) -> str:
        if self.program is None:
            return ""
        whole = f"; in every step whole: {', '.join(self.program.whole)}" if self.program.whole else ""
        order = self.program.order
        levels = f"; {len(order.runs)} levels of up to {order.together} steps" if isinstance(order, ByLevel) else ""
        return f"{levels}; keeps {self.program.memory / 2**20:.3g} MiB{whole}"

    def check(self, repeat: Repeat) -> None:
        if self.unroll not in (None, 1):
            raise ScheduleError(f"{self} has {self.unroll} steps in a compiled call; it compiles one at a time")
        if self.window is not None and self.window < 1:
            raise ScheduleError(f"{self} has a window of {self.window} steps; it needs one or more")
        if self.lookahead is not None and not 1 <= self.lookahead <= repeat.length:
            raise ScheduleError(f"{self} looks ahead {self.lookahead} steps; {repeat.name} has {repeat.length}")
        if self.levels is not None and self.lookahead is not None:
            raise ScheduleError(f"{self} has levels and looks ahead; {repeat.name} takes one of the two")
        if self.levels is not None and not 1 <= self.levels <= repeat.length:
            raise ScheduleError(f"{self} has {self.levels} levels; {repeat.name} has {repeat.length} steps")

    def settle(self, proofs: Proofs) -> "Incremental":
        if not reads_buffer(proofs.repeat):
            raise PartitionError("its steps read no buffer that they write, of which entries could be kept")
        latest = proofs.causality.latest
        order = self._looking_ahead(proofs.repeat) or step_order(proofs.repeat, latest, self.levels)
        program = incremental_program(proofs.repeat, proofs.structural, order)
        levels = len(order.runs) if isinstance(order, ByLevel) else self.levels
        return replace(self, levels=levels, program=program)

    def _looking_ahead(self, repeat: Repeat) -> Lookahead | None:
        width = self.lookahead
        return None if width is None else Lookahead(repeat.length, min(width, repeat.length))

    @classmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        if not (latest := situation.proofs.causality.latest):
            return []
        least = len(step_order(situation.repeat, latest, None).runs) * STEP_SECONDS
        if weighed.total * situation.solves < PLANNED_SECONDS or weighed.best < least:
            return []
        node = cls(whole(situation.repeat))
        try:
            node = node.settle(situation.proofs)
            node = replace(node, window=_window(situation.repeat))
        except PartitionError as error:
            return [ruled_out((node,), str(error))]
        trial = _measured(situation, node)
        is_worth_it = trial.seconds < weighed.best * MOST_GAIN
        compiled = _compiled(situation, node, weighed, trial) if is_worth_it else []
        best = min((one.seconds for one in compiled if one.sweeps is not None), default=trial.seconds)
        return [trial, *compiled, *_ahead(situation, node, weighed, min(best, trial.seconds))]

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        program = self.program or incremental_program(repeat, {}, self._looking_ahead(repeat))
        program = program.with_stages(shortened) if self.unroll is None else program.with_bodies(FusedChunk)
        length = self.window or repeat.length
        bounds = (*range(0, repeat.length, length), repeat.length)
        return LoopSolver(
            repeat,
            incremental if self.lookahead is None else lookahead,
            sweep_loop(repeat, bounds),
            (*strictest(repeat, parts, stop), bounds),
            (HeldModule("steps", program),),
        )


def _measured(situation: Situation, node: Incremental, backend: str = "eager") -> Trial:
    run_parts(situation.repeat, situation.values, (node,), situation.stop)
    run = run_parts(situation.repeat, situation.values, (node,), situation.stop)
    how = "each entry once, and" if node.lookahead is None else "each entry while it may change, in"
    reason = f"{how} {run.sweeps} sweeps{node.remark}"
    return Trial(Candidate(text_of((node,)), backend, run.seconds, "measured", reason), (node,), run.sweeps)


def _ahead(situation: Situation, node: Incremental, weighed: Weighed, best: float) -> list[Trial]:
    """In a window that looks ahead, where whole sweeps settle several steps each, and those of the first window too."""
    swept, length = [one.sweeps * len(one.parts) for one in weighed.trials if one.sweeps], situation.repeat.length
    if node.levels is not None or weighed.sweep is None or length < LEAST_SETTLED * min(swept, default=length):
        return []
    most = length / min(swept)
    promised = {width: _promised(situation, width, most, best, weighed.sweep) for width in AHEAD if 2 * width < length}
    width = min(promised, key=promised.__getitem__, default=0)
    if not width or promised[width] * AHEAD_MARGIN > best:
        return []
    node = replace(node, lookahead=width, program=None).settle(situation.proofs)
    trial = _measured(situation, node)
    # Without sweeps it is one that was measured and lost.
    return [trial if trial.seconds * AHEAD_MARGIN < best else replace(trial, sweeps=None)]


def _promised(situation: Situation, width: int, most: float, best: float, sweep: float) -> float:
    """The seconds of windows that settle as many steps a sweep as the first one does, or as whole sweeps do at most.

    A sweep of one costs a step, and its share of a whole sweep.
    """
    count = count_sweeps(first_window(situation.repeat, situation.values, width), situation.stop, width)
    settled = min(most, width / count) if count else 1.0
    return (best + width * sweep) / settled


def _compiled(situation: Situation, node: Incremental, weighed: Weighed, trial: Trial) -> list[Trial]:
    """With compiled stages, where there is time to compile them."""
    if situation.backend != "inductor" or node.program is None:
        return []
    node, ops = replace(node, unroll=1), node.program.count_ops()
    now = min(weighed.best, trial.seconds)
    name, predicted = situation.repeat.name, situation.purse.prices.compiled(trial.seconds, ops)
    seconds = (one * situation.solves for one in (weighed.total, now, predicted))
    if reason := situation.purse.refuse(GraphRequest(name, (name, "stages"), ops, *seconds)):
        return [ruled_out((node,), reason, "inductor")]
    try:
        return [_measured(situation, node, "inductor")]
    except Exception as error:  # inductor raises whatever its code generators and compilers raise
        return [ruled_out((node,), f"inductor failed: {str(error).strip().splitlines()[0]}", "inductor")]


def _window(repeat: Repeat) -> int | None:
    """The steps of which one sweep fits into memory; None for all of them."""
    length = repeat.length
    while length > SMALLEST_WINDOW and _sweep_bytes(repeat, length) > SWEEP_BYTES:
        length = -(-length // 4)
    return None if length == repeat.length else length


def _sweep_bytes(repeat: Repeat, length: int) -> int:
    """Memory of all values of one sweep of so many steps, of which many are the same for all."""
    values = (node.meta.get("val") for node in batch(repeat, length).graph.nodes)
    return sum(value.numel() * value.element_size() for value in values if isinstance(value, Tensor))
