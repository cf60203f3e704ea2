"""What the certificates of one loop say, in words; where a loop was solved several times, the worst of all."""

import math
from collections.abc import Sequence

from fxsolve.report.units import count, span
from fxsolve.solvers.certificate import Basis, Certificate

SUM_TEXT = "all added up at once, in another order: at most n eps sum |a b| for n products a b"

_WITHOUT_BOUND: dict[Basis, str] = {
    "in order": "the steps solve loops, which have their own",
    "equality": "the steps solve loops, which have their own",
    "independent": "that of one step, batched; no step reads another",
}
_BASIS: dict[Basis, str] = {
    "in order": "the program's own steps ran",
    "equality": "no step changes a bit of it",
    "jacobian": "by the norms of the Jacobians",
    "disturbance": "by what became of a small disturbance",
}


def solution_text(certificates: Sequence[Certificate]) -> str:
    """How the solves went on the recorded inputs, their residual, and how many steps are exact."""
    if not certificates:
        return ""
    solutions = [one.solution for one in certificates]
    low = min(one.sweeps for one in solutions)
    parts = [
        f"{count(len(solutions), 'solve')} of " if len(solutions) > 1 else "",
        f"{span([one.sweeps for one in solutions])} sweep{'' if low == 1 else 's'} on the recorded inputs, ",
        f"residual {_number(max(one.residual for one in certificates))}",
        ", bitwise, " if all(one.bitwise for one in certificates) else ", not bitwise, ",
        f"{sum(one.prefix for one in certificates):,} of {count(sum(one.length for one in solutions), 'step')} exact",
    ]
    return "".join(parts)


def error_text(certificates: Sequence[Certificate], is_equal: bool = False) -> str:
    """The largest bound, and what it rests on; `is_equal` tells that all results were those of the program, bitwise."""
    if not certificates:
        return ""
    worst = max(certificates, key=_severity)
    if worst.basis == "none":
        return f"unknown: {worst.problem}"
    if worst.bound is None:
        return _WITHOUT_BOUND[worst.basis]
    if worst.bound == 0:
        return f"none, {_BASIS[worst.basis]}"
    if worst.bound == math.inf and is_equal:
        return "none in the recorded run, whose results are bitwise equal; no bound for other inputs"
    if worst.bound == math.inf:
        return "no bound: it may be as large as the values"
    return f"at most {_number(worst.bound)}, {_BASIS[worst.basis]}"


def _severity(certificate: Certificate) -> tuple[bool, bool, float]:
    bound = certificate.bound
    return certificate.basis == "none", bound is None, 0.0 if bound is None else bound


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}"
