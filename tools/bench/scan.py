"""The affine scan d_t = a_t d_{t-1} + b_t: the chosen form against the loop, and against the other forms.

The ratios expected here were written down after trial runs, unlike those of the other benchmarks.
"""

import math

import torch
from torch import Tensor

from fxsolve.solvers.affine_maps import Dense, Diagonal, Maps
from fxsolve.solvers.affine_scan import affine_scan
from fxsolve.solvers.scan_form import Form, choose_form, run_form
from measure import Case, interleaved, options, save

from comparing import Program, timed

FORMS = {"logarithmic": Form("logarithmic"), "chunks of 8": Form("blocked", 8), "chunks of 64": Form("blocked", 64)}
# The logarithmic form of more entries takes seconds.
LOGARITHMIC_ENTRIES = 2**21
# (T, N, n) and the least ratio expected; n = 1 is diagonal.
PREDICTIONS = {
    (64, 1, 1): 1.5,
    (1024, 1, 1): 10.0,
    (1024, 512, 1): 3.0,
    (256, 4096, 1): 0.8,
    (65536, 1, 1): 100.0,
    (65536, 128, 1): 10.0,
    (1024, 1, 2): 5.0,
    (1024, 1, 8): 3.0,
    (8192, 1, 8): 10.0,
    (1024, 16, 4): 1.3,
    (1024, 1, 32): 1.0,
    (256, 1, 64): 0.8,
}


def loop(a: Tensor, b: Tensor) -> Tensor:
    """The recurrence as one writes it."""
    state, states = b[0], [b[0]]
    if a.dim() == b.dim():
        for factor, row in zip(a[1:], b[1:], strict=True):
            state = factor * state + row
            states.append(state)
    else:
        for factor, row in zip(a[1:], b[1:], strict=True):
            state = torch.baddbmm(row.unsqueeze(-1), factor, state.unsqueeze(-1)).squeeze(-1)
            states.append(state)
    return torch.stack(states)


def run(form: Form) -> Program:
    """One form, whatever the rule would choose."""

    def program(a: Tensor, b: Tensor) -> Tensor:
        maps: Maps = Diagonal() if a.dim() == b.dim() else Dense()
        return run_form(form, maps, a, columns(a, b)).view(b.shape)

    return program


def columns(a: Tensor, b: Tensor) -> Tensor:
    return b if a.dim() == b.dim() else b.unsqueeze(-1)


def case(T: int, N: int, n: int, prediction: float, repeats: int, device: str) -> Case:
    matrix, vector = ((), ()) if n == 1 else ((n, n), (n,))
    a = torch.randn(T, N, *matrix, device=device) * 0.6 / math.sqrt(n)
    b = torch.randn(T, N, *vector, device=device)
    programs: dict[str, Program] = {"loop": loop, "fxsolve": affine_scan}
    programs |= {
        name: run(form) for name, form in FORMS.items() if name != "logarithmic" or a.numel() <= LOGARITHMIC_ENTRIES
    }
    form = choose_form(a, columns(a, b))
    chosen = f"{form.name}, chunks of {form.chunk}" if form.chunk else form.name
    ms = interleaved(programs, (a, b), repeats)
    wanted, found = timed(loop, (a, b))[0], timed(affine_scan, (a, b))[0]
    return Case(
        name=f"T={T}, N={N}, " + ("diagonal" if n == 1 else f"{n} x {n}"),
        ms=ms,
        baseline="loop",
        prediction=prediction,
        schedule=chosen,
        solved=[chosen],
        equal=torch.equal(wanted, found),
        difference=(wanted.double() - found.double()).abs().max().item(),
        first_call_s=0.0,
        stages_s={},
    )


def main() -> None:
    chosen = options("scan", __doc__ or "")
    torch.manual_seed(0)
    cases = [case(*size, expected, chosen.repeats, chosen.device) for size, expected in PREDICTIONS.items()]
    save(chosen, "scan", cases)


if __name__ == "__main__":
    main()
