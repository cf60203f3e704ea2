"""Whether an emitted module reproduces the recorded run, within rounding and what its stop tests leave behind."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.codegen.emit import Emitted
from fxsolve.errors import GuardError
from fxsolve.ir.strides import can_be_laid_out, lies_as
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.plan.decision import Decision
from fxsolve.plan.schedule import is_iterative
from fxsolve.report.data import Check
from fxsolve.report.difference import within
from fxsolve.runtime.agreement import check, check_gradients
from fxsolve.runtime.faults import DiffersError, stray_error
from fxsolve.runtime.gradients import Differentiable
from fxsolve.runtime.trial import run_example
from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.requests import certificates
from fxsolve.solvers.trace import Trace, traces
from fxsolve.state.memory import storage_of, storages_of


@dataclass(frozen=True)
class Checked:
    """How far the module is from the recorded run; `fault` is the reason not to use it, "" where there is none.

    Results of the numbers `turned` lie in memory in another way than while recording, each by itself there.
    """

    results: Check
    gradients: Check | None
    certificates: tuple[Certificate, ...]
    traces: tuple[Trace, ...]
    fault: str = ""
    turned: tuple[int, ...] = ()


def check_example(emitted: Emitted | Differentiable, captured: Program, decision: Decision, stop: float) -> Checked:
    """Compare one run on the recorded inputs with what was recorded. Raises `DiffersError` where that run fails."""
    try:
        with certificates() as proved, traces() as swept:
            outputs, _ = run_example(emitted, captured)
    except GuardError as error:  # a number that the program reads is not the same to the last bit
        reason = f"the emitted module differs where the program reads a number: {error}"
        raise DiffersError(reason, error.number) from error
    except Exception as error:
        if not is_iterative(decision.schedule):
            raise
        raise DiffersError(stray_error(error, decision.schedule)) from error
    recorded = captured.example.outputs
    count = emitted.passes.results if isinstance(emitted, Differentiable) else len(recorded)
    results = check(outputs[:count], recorded[:count], stop)
    if not within(results):
        return Checked(results, None, tuple(proved), tuple(swept), f"the emitted module {_differs(results)}")
    turned = _find_turned(outputs[:count], recorded[:count])
    if not outputs[count:]:
        return Checked(results, None, tuple(proved), tuple(swept), "", turned)
    gradients = check_gradients(outputs[count:], recorded[count:], stop)
    what = "the emitted backward pass, relative to the largest entries,"
    fault = "" if within(gradients) else f"{what} {_differs(gradients)}"
    return Checked(results, gradients, tuple(proved), tuple(swept), fault, turned)


def _find_turned(results: Sequence[Tensor], recorded: Sequence[Tensor]) -> tuple[int, ...]:
    """Which results lie in memory in another way than what was recorded; of several on one memory, none."""
    shared = Counter(storages_of(recorded))
    pairs = enumerate(zip(results, recorded, strict=True))
    return tuple(k for k, pair in pairs if shared[storage_of(pair[1])] == 1 and _is_turned(*pair))


def _is_turned(result: Tensor, recorded: Tensor) -> bool:
    wanted = spec_of(recorded)
    return can_be_laid_out(wanted) and not lies_as(spec_of(result), wanted)


def _differs(found: Check) -> str:
    return f"differs from the recorded run by {found.max_difference:.3g}, more than {found.tolerance:.3g}"
