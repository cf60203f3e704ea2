"""Plans: what was decided about every kind of calls of a program, saved with its report, and taken again elsewhere."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from fxsolve.errors import InputError, PlanError
from fxsolve.ir.fingerprint import Fingerprint
from fxsolve.report.data import PlannedReport
from fxsolve.report.from_json import from_json
from fxsolve.runtime.forms import describe_tensors
from fxsolve.runtime.verdict import Verdict

_LONGEST = 1 << 26  # bytes of a file that is read
_MOST_NAMED = 4


@dataclass(frozen=True)
class SavedPlan:
    """The decisions that lie in the file `path`, about kinds of calls of one `program`."""

    path: str
    program: str
    decisions: tuple[PlannedReport, ...]

    def __str__(self) -> str:
        return f"the plan {self.path}"

    def verdict_about(self, graph: Fingerprint, inputs: tuple[Tensor, ...]) -> Verdict:
        """What was decided about this very system, of a call with these tensors.

        Raises `PlanError`, which says what differs in the nearest system that the plan knows.
        """
        for one in self.decisions:
            if one.graph == graph:
                return Verdict(one.schedule, one.tolerance, one.reason, str(self))
        nearest = max(self.decisions, key=lambda one: len(set(one.graph) & set(graph)))
        raise PlanError(
            f"{self} decides about calls of {self.program} with {self._signatures()}, and not about this one with "
            f"({describe_tensors(inputs)}): {_difference(nearest, graph)}; save a plan after a call like this one"
        )

    def _signatures(self) -> str:
        known = list(dict.fromkeys(one.signature for one in self.decisions))
        more = f" and {len(known) - _MOST_NAMED} others" if len(known) > _MOST_NAMED else ""
        return " or ".join(f"({one})" for one in known[:_MOST_NAMED]) + more


def _difference(nearest: PlannedReport, graph: Fingerprint) -> str:
    ours, theirs = dict(graph), dict(nearest.graph)
    differing = [name for name in ours if theirs.get(name, ours[name]) != ours[name]]
    facts = (
        ("other ops or sizes in", differing),
        ("not in the plan:", [name for name in ours if name not in theirs]),
        ("only in the plan:", [name for name in theirs if name not in ours]),
    )
    return "; ".join(f"{what} {_names(names)}" for what, names in facts if names)


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} others" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def read_plan(path: Path) -> SavedPlan:
    """The plan in the report that `save` wrote. Raises `InputError` for any other file."""
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST + 1)
        if len(text) > _LONGEST:
            raise ValueError(f"it has more than {_LONGEST >> 20} MiB")
        report = from_json(text.decode())
        _check(report.plan)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (InputError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no plan, as fast.save(...) writes one: {error}") from error
    if not report.plan:
        raise InputError(f"{path} holds no decision; save it after a call of the compiled program")
    return SavedPlan(str(path), report.program, report.plan)


def _check(decisions: tuple[PlannedReport, ...]) -> None:
    for one in decisions:
        texts = (one.signature, one.schedule, one.reason, *(text for pair in one.graph for text in pair))
        if not all(isinstance(text, str) for text in texts) or not (one.schedule or one.reason):
            raise ValueError("a decision of it has no schedule, or no text where one has to be")
