"""Fused: the steps in order, several of them in one compiled call."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from fxsolve.errors import ScheduleError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.arguments import Values, backward_reads, fused_arguments
from fxsolve.lower.lower import numbered_loop
from fxsolve.lower.readable import readable
from fxsolve.lower.unroll import can_unroll, chunk_graph, tensor_step
from fxsolve.plan.budget import most_ops
from fxsolve.plan.decision import Candidate
from fxsolve.plan.lower import lower
from fxsolve.plan.method import MethodNode, Option, Part, Steps, whole
from fxsolve.plan.probe import PROBED_STEPS, least_seconds, shorten
from fxsolve.plan.proofs import UNROLLED, Requirement
from fxsolve.plan.purse import GraphRequest
from fxsolve.plan.solver import HeldModule, LoopSolver, Solver
from fxsolve.plan.trial import Priced, Situation, Trial, Weighed, ruled_out
from fxsolve.solvers import fuse
from fxsolve.solvers.stop import Stop

FUSED_CALLS = 200  # ops in one compiled call
FUSED_STEPS = 12
LEAST_CHUNKS = 4  # compiled calls of a loop
OVERHEAD_BOUND = 20e-6  # mean time of an op below which fusing pays
MOST_GAIN = 8  # a solve that is faster than the steps by this factor is not compared with fused ones
CALL_OPS = 10  # what a compiled call costs besides its steps, in ops that are not compiled
COMPILED_OPS = 1.2  # what it costs to compile an op, over 5,000 runs, in ops that are not compiled
MEASUREMENTS = 3  # behind seconds of compilation, milliseconds that other programs may disturb less


@dataclass(frozen=True)
class Fused(MethodNode, Priced):
    """The steps in order, `unroll` of them in one call that inductor compiles; these round in their own way."""

    name: ClassVar[str] = "fused"
    requires: ClassVar[tuple[Requirement, ...]] = (UNROLLED,)
    options: ClassVar[tuple[Option, ...]] = (Option("unroll", lambda reader: reader.count("step")),)

    child: Steps
    unroll: int

    @property
    def takes_all(self) -> bool:
        return True

    def check(self, repeat: Repeat) -> None:
        if self.unroll < 1:
            raise ScheduleError(f"{self} has {self.unroll} steps in a call; it needs one or more")
        if not can_unroll(repeat):
            raise ScheduleError(f"{self} needs steps that read tensors, and of other steps only the one before")

    @classmethod
    def price(cls, situation: Situation, weighed: Weighed) -> list[Trial]:
        return try_fused(situation, weighed.step, weighed.total, weighed.best)

    def lower(self, repeat: Repeat, parts: Sequence[Part], stop: Stop | None) -> Solver:
        chunk = HeldModule("chunk", fuse.FusedChunk(readable(chunk_graph(repeat, self.unroll))))
        return LoopSolver(
            repeat,
            fuse.fused_gauss_seidel,
            numbered_loop(repeat),
            (backward_reads(repeat),),
            (chunk, self.unroll),
            _laid_out_for_chunks,
            fixes_layout=True,
        )


def _laid_out_for_chunks(repeat: Repeat, values: Values) -> tuple[Any, ...]:
    return fused_arguments(repeat, values).flat()


def fused_step_seconds(repeat: Repeat, values: Values, unroll: int) -> float:
    """Time of one step when `unroll` of them are compiled into one call; compiles it."""
    first = shorten(repeat, min((repeat.length - 1) // unroll, PROBED_STEPS) * unroll + 1)
    return least_seconds(lower(first, (Fused(whole(first), unroll),)).bind(values)) / first.length


def try_fused(situation: Situation, step: float, total: float, best: float) -> list[Trial]:
    """Compile a few steps into one function, where the overhead of small ops dominates the `total` of a solve."""
    repeat = situation.repeat
    calls = len([node for node in repeat.body.graph.nodes if node.op == "call_function"])
    is_long = total * situation.solves > situation.purse.least_seconds
    pays = is_long and step / calls < OVERHEAD_BOUND and best > total / MOST_GAIN
    if situation.backend != "inductor" or not can_unroll(repeat) or not pays:
        return []
    saved = total * situation.solves
    kind = _kind(repeat)
    # Equal loops take equally many steps into a call, whatever was measured of each: then they share it.
    most = most_ops(saved, situation.purse.runs)
    unroll = situation.purse.unrolls.get(kind) or choose_unroll(repeat.length, calls, most, situation.solves)
    if unroll == 0:
        return []
    parts = (Fused(whole(repeat), unroll),)
    situation.purse.unrolls[kind] = unroll
    first = _uncompiled(repeat.length, unroll)
    predicted = first * step + (repeat.length - first) * situation.purse.prices.compiled(step, calls)
    runs = situation.solves
    asked = GraphRequest(repeat.name, (*kind[1:], unroll), unroll * calls, saved, best * runs, predicted * runs)
    if reason := situation.purse.refuse(asked):
        return [ruled_out(parts, reason, "inductor")]
    try:
        compiled = min(fused_step_seconds(repeat, _laid_out(situation), unroll) for _ in range(MEASUREMENTS))
    except Exception as error:  # inductor raises whatever its code generators and compilers raise
        return [ruled_out(parts, f"inductor failed: {str(error).strip().splitlines()[0]}", "inductor")]
    seconds = first * step + (repeat.length - first) * compiled
    reason = f"{unroll} steps in one compiled call"
    return [Trial(Candidate(str(parts[0]), "inductor", seconds, "derived", reason), parts, 0)]


def choose_unroll(length: int, calls: int, most: int, solves: int = 1) -> int:
    """The steps in one compiled call, so that it has at most `most` ops; 0 where no number of them will do.

    The more of them, the fewer calls; but what is left over of a short loop runs step by step, and uncompiled, and
    compiling takes longer. The loop is solved `solves` times in a run.
    """
    full = min(FUSED_STEPS, max(1, FUSED_CALLS // calls), length // LEAST_CHUNKS)
    numbers = [n for n in range(full, 0, -1) if n * calls <= most]

    def cost(unroll: int) -> float:
        first = _uncompiled(length, unroll)
        calling = (length - first) // unroll * CALL_OPS
        return first * calls + calling + unroll * calls * COMPILED_OPS / solves

    return min(numbers, key=cost, default=0)


def _uncompiled(length: int, unroll: int) -> int:
    """The steps that run before the first compiled call."""
    return (length - 1) % unroll + 1


def _kind(repeat: Repeat) -> tuple[Hashable, ...]:
    """What equal loops have in common: their length, the code of a step, and the form of the values that it reads."""
    read = (node.meta["spec"] for node in tensor_step(repeat).graph.find_nodes(op="placeholder"))
    return repeat.length, chunk_graph(repeat, 1).code, tuple((tuple(spec.shape), spec.dtype) for spec in read)


def _laid_out(situation: Situation) -> Values:
    """The values of a loop, as they lie where it is emitted: inside of another one, without gaps."""
    if situation.solves == 1:
        return situation.values
    return Values({name: value.contiguous() for name, value in situation.values.named.items()})
