"""What was decided, as rows of the report."""

from collections.abc import Iterator

from fxsolve.ir.nested import loops_inside
from fxsolve.ir.spec import Lag, Prefix, Repeat, System
from fxsolve.ir.tensor_spec import TensorSpec
from fxsolve.ir.text import count_ops
from fxsolve.ir.until import Until
from fxsolve.plan import decision
from fxsolve.plan.decision import Choice, Decision
from fxsolve.plan.depth import longest_chain
from fxsolve.plan.facts import find_facts
from fxsolve.plan.method import Part
from fxsolve.plan.methods.sums import Sum
from fxsolve.plan.schedule import parts_by_repeat
from fxsolve.report.data import CandidateReport, LoopReport
from fxsolve.report.reads import argument_names, describe_reads


def loop_reports(system: System, decided: Decision) -> tuple[LoopReport, ...]:
    """One row for each repeat of the system, and behind it those of the repeats inside its steps."""
    choices, parts = {choice.repeat: choice for choice in decided.choices}, parts_by_repeat(decided.schedule)

    def rows(repeat: Repeat, outer: str) -> Iterator[LoopReport]:
        yield _row(repeat, choices[repeat.name], parts.get(repeat.name, ()), outer)
        for inner in loops_inside(repeat):
            yield from rows(inner, repeat.name)

    return tuple(row for repeat in system.repeats for row in rows(repeat, ""))


def _row(repeat: Repeat, choice: Choice, parts: tuple[Part, ...], outer: str) -> LoopReport:
    facts = find_facts(repeat)
    return LoopReport(
        name=repeat.name,
        source=repeat.source,
        length=repeat.length,
        calls=count_ops(repeat.body),
        reads=describe_reads(repeat),
        chosen=_candidate(choice.chosen),
        rejected=tuple(map(_candidate, choice.rejected)),
        depth=choice.depth or longest_chain(repeat),
        causal=choice.causal,
        affine=facts.affine,
        jacobian=facts.structure,
        box=facts.bounds,
        backward=any("backward" in node.meta for node in repeat.body.graph.nodes),
        step_seconds=choice.step_seconds,
        sweep_seconds=choice.sweep_seconds,
        sweeps=choice.sweeps,
        outer=outer,
        stops=repeat.until.stops if isinstance(repeat.until, Until) else None,
        sums=any(isinstance(part, Sum) for part in parts),
        carries=_carries(repeat),
    )


def _carries(repeat: Repeat) -> tuple[str, ...]:
    """What steps read of earlier ones: h: float32[16, 64]."""
    names, places = argument_names(repeat), repeat.body.graph.find_nodes(op="placeholder")
    return tuple(
        f"{name}: {str(spec.dtype).removeprefix('torch.')}{list(spec.shape)}"
        for name, read, place in zip(names, repeat.reads, places, strict=True)
        if isinstance(read, Lag | Prefix) and isinstance(spec := place.meta.get("spec"), TensorSpec)
    )


def _candidate(candidate: decision.Candidate) -> CandidateReport:
    return CandidateReport(candidate.schedule, candidate.backend, candidate.seconds, candidate.basis, candidate.reason)
