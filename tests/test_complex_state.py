"""Complex states: conjugated and negated lazily, mixed with real tensors, of both precisions, with gradients."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import fxsolve
from tests.turns import in_turn

B, T, N = 2, 7, 4
CALLS = 3
Step = Callable[[Tensor, Tensor, Tensor], Tensor]

# z' = step(z, x_t, a): a complex state, a real or complex input, a complex parameter.
STEPS: dict[str, Step] = {
    "conjugated": lambda z, x, a: a * z.conj() + x,
    "conjugated and real": lambda z, x, a: 0.6 * z.conj() + x,
    "conjugated twice": lambda z, x, a: a * z.conj().conj() + x.conj(),
    "a product with its conjugate": lambda z, x, a: x + 0.3 * a * (z * z.conj()),
    "the real part": lambda z, x, a: a * z + z.real * 0.1 + x,
    "the imaginary part of the conjugate": lambda z, x, a: a * z + z.conj().imag * 0.1 + x,
    "the imaginary part of an input": lambda z, x, a: a * z + (x + 0j).conj().imag + x,
    "both parts": lambda z, x, a: torch.complex(z.imag, z.real) * a + x,
    "real entries": lambda z, x, a: torch.view_as_complex(torch.tanh(torch.view_as_real(a * z + x))),
    "real entries of the conjugate": lambda z, x, a: torch.view_as_complex(
        torch.tanh(torch.view_as_real((a * z + x).conj().resolve_conj()))
    ),
    "an absolute value": lambda z, x, a: a * z / (1 + z.abs()) + x,
    "an angle": lambda z, x, a: a * torch.polar(torch.tanh((z + 2).abs()), z.conj().angle() / 2) + x,
    "a Fourier transform": lambda z, x, a: torch.fft.ifft(torch.fft.fft(z) * a) * 0.5 + x,
    "the transform of a conjugate": lambda z, x, a: torch.fft.fft(z.conj(), norm="ortho").conj() * a * 0.5 + x,
    "a real transform": lambda z, x, a: torch.fft.irfft(z, 2 * N - 2)[..., :N] * a * 0.2 + x,
    "an adjoint": lambda z, x, a: 0.2 * (z @ (z.mH @ z)) * a + 0.3 * x,
    "an adjoint of a view": lambda z, x, a: (z.unsqueeze(-1) * z[:, None, :].conj()).sum(-1) * 0.1 * a + x,
    "a negated view": lambda z, x, a: a * z - torch.complex(x.real, x.real.neg()).conj().imag * 0.2,
    "chosen": lambda z, x, a: torch.where(z.real > 0, z.conj(), z * a) * 0.5 + x,
    "a dot product": lambda z, x, a: x + 0.1 * a * torch.vdot(z[0], z[1].conj()),
    "written": lambda z, x, a: (z * 0.5).index_add(1, torch.tensor([0, 2]), (a * z.conj())[:, :2]) + x,
}


def every_state(step: Step, a: Tensor) -> Callable[[Tensor], Tensor]:
    def program(x: Tensor) -> Tensor:
        z, out = torch.zeros(B, N, dtype=a.dtype), []
        for t in range(T):
            z = step(z, x[:, t], a)
            out.append(z)
        return torch.stack(out, 1)

    return program


def last_state(step: Step, a: Tensor) -> Callable[[Tensor], Tensor]:
    def program(x: Tensor) -> Tensor:
        z = torch.complex(x[:, 0].real, x[:, 1].real)
        for t in range(T):
            z = step(z, x[:, t], a)
        return z.conj()

    return program


def _size(y: Tensor) -> Tensor:
    return (y.abs() + y.real.sin()).sum()


def compare(program: Callable[[Tensor], Tensor], a: Tensor, schedule: str, kind: torch.dtype) -> str:
    """Call it with and without gradients, and compare with the original; returns how the calls were answered."""
    fast = fxsolve.compile(program, backend="eager", schedule=schedule)
    eps = torch.finfo(kind).eps
    near = 0.0 if schedule == "gs" else 1e5 * eps
    for _ in range(CALLS):
        x = (torch.randn(B, T, N, dtype=kind) * 0.5).requires_grad_()
        with torch.no_grad():
            torch.testing.assert_close(fast(x), program(x), rtol=near, atol=near)
        ours, own = fast(x), program(x)
        torch.testing.assert_close(ours, own, rtol=near, atol=near)
        assert (ours.is_conj(), ours.is_neg()) == (own.is_conj(), own.is_neg())
        found, wanted = (torch.autograd.grad(_size(y), [x, a], allow_unused=True) for y in (ours, own))
        for one, other in zip(found, wanted, strict=True):
            if other is not None:
                torch.testing.assert_close(one, other, rtol=1e5 * eps, atol=1e5 * eps)
                assert one.dtype == other.dtype
                assert (one.is_conj(), one.is_neg()) == (other.is_conj(), other.is_neg())
    reasons = {entry.reason for entry in fast.entries if entry.status != "emitted"}
    return "; ".join(reasons)


@pytest.mark.parametrize(
    ("step", "form", "kind"), in_turn(STEPS, [every_state, last_state], [torch.float64, torch.complex64])
)
def test_complex_loops_run_in_order_to_the_last_bit(
    step: str, kind: torch.dtype, form: Callable[[Step, Tensor], Callable[[Tensor], Tensor]]
) -> None:
    torch.manual_seed(0)
    angles = torch.linspace(0.2, 1.4, N, dtype=torch.float64)
    a = torch.polar(torch.full_like(angles, 0.7), angles).to(kind.to_complex()).requires_grad_()
    assert compare(form(STEPS[step], a), a, "gs", kind) == ""


@pytest.mark.parametrize(
    ("step", "schedule"),
    [
        *((step, "jacobi") for step in STEPS),
        *zip(STEPS, itertools.cycle(["newton", "scan", "auto"]), strict=False),
    ],
)
def test_complex_loops_may_be_solved_in_parallel(step: str, schedule: str) -> None:
    torch.manual_seed(0)
    angles = torch.linspace(0.2, 1.4, N, dtype=torch.float64)
    a = torch.polar(torch.full_like(angles, 0.7), angles).requires_grad_()
    reason = compare(every_state(STEPS[step], a), a, schedule, torch.float64)
    assert "internal error" not in reason if schedule == "auto" else reason == "", reason


def _conjugates(x: Tensor) -> Tensor:
    z = torch.zeros(B, N, dtype=torch.complex128)
    for t in range(T):
        z = 0.5 * z.conj() + x[:, t].real - x[:, t].imag * 1j
    return z


def _halves(x: Tensor) -> Tensor:
    h = torch.zeros(B, N, dtype=torch.float64)
    for t in range(T):
        h = torch.tanh(0.5 * h - x[:, t])
    return h


@pytest.mark.parametrize("program", [_conjugates, _halves])
def test_arguments_may_be_conjugated_or_negated_by_a_flag(program: Callable[[Tensor], Tensor]) -> None:
    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    for _ in range(CALLS):
        z = torch.randn(B, T, N, dtype=torch.complex128)
        for x in (z, z.conj()) if program is _conjugates else (z.imag, z.conj().imag):
            torch.testing.assert_close(fast(x), program(x), rtol=0, atol=0)
    assert [entry.status for entry in fast.entries] == ["emitted"] * 2


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
def test_conjugates_of_a_conjugate_are_read_as_another_type(schedule: str) -> None:
    def program(x: Tensor) -> tuple[Tensor, Tensor]:
        z, out = torch.zeros(B, N, dtype=torch.complex128), []
        for t in range(T):
            z = (0.5 * z + x[:, t]).conj()
            out.append(torch.tanh(z.conj().view(torch.float64)) + torch.view_as_real(z.conj()).flatten(1))
        return z, torch.stack(out)

    fast = fxsolve.compile(program, backend="eager", schedule=schedule)
    for _ in range(CALLS):
        x = torch.randn(B, T, N, dtype=torch.complex128)
        ours, own = fast(x), program(x)
        torch.testing.assert_close(ours, own, rtol=1e-11, atol=1e-11)
        assert ours[0].is_conj()
        assert own[0].is_conj()
    assert fast.report().status == "emitted", fast.report().reason


def test_what_refuses_a_conjugate_refuses_it_when_compiled_too() -> None:
    def program(z: Tensor) -> Tensor:
        y = torch.view_as_real(z)
        for _ in range(4):
            y = torch.tanh(y + y.roll(1, 0)) * 0.9
        return y

    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    z = torch.randn(B, N, dtype=torch.complex128)
    torch.testing.assert_close(fast(z), program(z), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="unresolved conjugated"):
        fast(z.conj())
    torch.testing.assert_close(fast(z), program(z), rtol=0, atol=0)
    assert fast.report().status == "emitted"
