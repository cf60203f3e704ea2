"""What the scheduler decided, as rows of the report."""

from fxsolve.report.reads import describe_reads
from fxsolve.report.report import Candidate, LoopReport
from fxsolve.scheduler import decision
from fxsolve.scheduler.affine import is_affine
from fxsolve.scheduler.decision import Choice, Decision
from fxsolve.system.spec import Lag, Prefix, Repeat, System


def loop_reports(system: System, decided: Decision) -> tuple[LoopReport, ...]:
    """One row for each repeat of the system."""
    choices = {choice.repeat: choice for choice in decided.choices}
    return tuple(_row(repeat, choices[repeat.name]) for repeat in system.repeats)


def _row(repeat: Repeat, choice: Choice) -> LoopReport:
    return LoopReport(
        name=repeat.name,
        source=repeat.source,
        length=repeat.length,
        calls=sum(node.op == "call_function" for node in repeat.body.graph.nodes),
        reads=describe_reads(repeat),
        chosen=_candidate(choice.chosen),
        rejected=tuple(map(_candidate, choice.rejected)),
        depth=depth_of(repeat),
        causal=choice.causal,
        affine=is_affine(repeat),
        step_seconds=choice.step_seconds,
        sweep_seconds=choice.sweep_seconds,
        sweeps=choice.sweeps,
    )


def depth_of(repeat: Repeat) -> int:
    """The longest chain of steps that read one another: 1 without a carry, ceil(T / d) for a shortest lag d."""
    distances = [read.distance for read in repeat.reads if isinstance(read, Lag)]
    distances += [1 for read in repeat.reads if isinstance(read, Prefix)]
    return -(-repeat.length // min(distances)) if distances else 1


def _candidate(candidate: decision.Candidate) -> Candidate:
    return Candidate(candidate.schedule, candidate.backend, candidate.seconds, candidate.basis, candidate.reason)
