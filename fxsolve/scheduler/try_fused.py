"""Price steps in order that are compiled, several of them into one call."""

from fxsolve.partitioner.lowering.unroll import can_unroll
from fxsolve.scheduler.decision import Candidate
from fxsolve.scheduler.probe import fused_step_seconds
from fxsolve.scheduler.trial import Situation, Trial, in_order, ruled_out

FUSED_CALLS = 200  # ops in one compiled call
FUSED_STEPS = 12
FUSED_SECONDS = 2e-3  # loops shorter than this are not worth seconds of compilation
OVERHEAD_BOUND = 20e-6  # mean time of an op below which fusing pays
MOST_GAIN = 8  # a solve that is faster than the steps by this factor is not compared with fused ones


def try_fused(situation: Situation, step: float, total: float, best: float) -> list[Trial]:
    """Compile a few steps into one function, where the overhead of small ops dominates the `total` of a solve."""
    repeat = situation.repeat
    calls = len([node for node in repeat.body.graph.nodes if node.op == "call_function"])
    unroll = max(1, min(FUSED_STEPS, FUSED_CALLS // calls))
    pays = total * situation.solves > FUSED_SECONDS and step / calls < OVERHEAD_BOUND and best > total / MOST_GAIN
    if situation.backend != "inductor" or not can_unroll(repeat) or not pays or repeat.length < 4 * unroll:
        return []
    parts = (in_order(repeat),)
    try:
        seconds = fused_step_seconds(repeat, situation.values, unroll) * repeat.length
    except Exception as error:  # inductor raises whatever its code generators and compilers raise
        return [ruled_out(parts, f"inductor failed: {str(error).strip().splitlines()[0]}", "inductor")]
    reason = f"{unroll} steps in one compiled call"
    return [Trial(Candidate(str(parts[0]), "inductor", seconds, "derived", reason), parts, 0, unroll=unroll)]
