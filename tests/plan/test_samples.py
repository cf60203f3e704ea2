"""Samples of a batch that never mix: what is proved, and whether a schedule with smaller batches is worth it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Repeat
from fxsolve.lower.fewer_samples import thin
from fxsolve.lower.lower import sweep_loop
from fxsolve.plan.decision import Candidate
from fxsolve.plan.method import Steps
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.samples import find_samples, sample_dims, sample_loops
from fxsolve.plan.trial import Situation, Trial
from fxsolve.plan.try_samples import try_samples
from fxsolve.solvers.solution import observe
from tests.loops.programs import Sample
from tests.plan.recurrences import N, Step, gru, loop_over, recurrence, weights
from tests.plan.situations import situation

BATCH, COLUMNS = 6, 48


def repeat_of(step: Step, *shape: int) -> Repeat:
    """The loop h <- step(h, x_t, w) with h of this shape."""
    x = torch.randn(5, *(shape or (BATCH, N)), dtype=torch.float64)
    return recurrence(loop_over(step), x, *weights(torch.float64))


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x, w, u: torch.tanh(x + h @ w),
        lambda h, x, w, u: gru(h, x, w, u),
        lambda h, x, w, u: torch.tanh(F.layer_norm(h @ w, (N,), w[0], w[1]) + x),
        lambda h, x, w, u: torch.bmm(h.unsqueeze(1), (x.unsqueeze(2) * w)).squeeze(1).tanh(),
        lambda h, x, w, u: (h.view(BATCH, 1, N).expand(BATCH, 2, N) * torch.stack([x, h], 1)).sum(1),
    ],
)
def test_rows_are_samples(step: Step) -> None:
    repeat = repeat_of(step)
    samples = find_samples(repeat)
    assert (samples.size, sample_dims(repeat, samples)) == (BATCH, {0: 1})
    sweep_loop(thin(repeat, samples, 3), (0, 5))


def test_weights_as_wide_as_the_batch_are_shared() -> None:
    repeat = repeat_of(lambda h, x, w, u: torch.tanh(x + h @ w), N, N)
    samples = find_samples(repeat)
    assert sample_dims(repeat, samples) == {0: 1}
    assert sample_loops(repeat, (2,), [0, 5]).reads == (1, 1, None)


def test_samples_may_lie_along_any_dimension() -> None:
    repeat = repeat_of(lambda h, x, w, u: torch.tanh(x + torch.bmm(h.flip(0), w.expand(2, N, N))), 2, BATCH, N)
    samples = find_samples(repeat)
    assert (samples.size, sample_dims(repeat, samples)) == (BATCH, {0: 2})


@pytest.mark.parametrize(
    "step",
    [
        lambda h, x, w, u: torch.tanh(x + h @ w - h.mean()),
        lambda h, x, w, u: F.batch_norm(h @ w, None, None, training=True) + x,
        lambda h, x, w, u: torch.softmax(h @ h.t(), -1) @ h + x,
        lambda h, x, w, u: torch.tanh(h.roll(1, 0) @ w + x),
    ],
)
def test_steps_that_mix_rows_have_no_samples(step: Step) -> None:
    with pytest.raises(PartitionError, match="mix"):
        find_samples(repeat_of(step))


class Masked(nn.Module):
    """x_i = tanh(c_b (x_<i W_i) + z_i) for each sample b, column by column."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, size))
        self.register_buffer("mask", torch.ones(size, size).tril(-1))

    def forward(self, z: Tensor, coupling: Tensor) -> Tensor:
        x = torch.zeros_like(z)
        for i in range(z.shape[1]):
            x[:, i] = torch.tanh(coupling * F.linear(x, self.weight * self.mask)[:, i] + z[:, i])
        return x


def inputs(strong: int) -> tuple[Tensor, Tensor]:
    """What arrives at 16 samples, and their couplings, so many of them strong."""
    coupling = torch.full((16,), 1e-3)
    coupling[:strong] = 0.4
    return torch.randn(16, COLUMNS), coupling


def masked_loop(strong: int) -> Situation:
    """The loop over columns, with so many strongly coupled samples of 16."""
    torch.manual_seed(0)
    return situation(Sample("masked", Masked(COLUMNS), inputs(strong), (COLUMNS,)))


def plain_sweeps(loop: Situation) -> Trial:
    """Sweeps of all samples, as they come from `try_windows`."""
    parts = (Jacobi(Steps(loop.repeat.name, 0, COLUMNS)),)
    return Trial(Candidate(str(parts[0]), "eager", 1.0, "derived", ""), parts, COLUMNS)


def test_smaller_batches_are_measured_where_most_samples_settle_early() -> None:
    loop = masked_loop(2)
    found = try_samples(loop, plain_sweeps(loop))
    assert found is not None
    (part,) = found.parts
    assert isinstance(part, Jacobi)
    assert part.samples[-1] == 2
    assert found.candidate.schedule == str(part)


@pytest.mark.parametrize("strong", [0, 16])
def test_no_batches_are_tried_where_all_samples_are_alike(strong: int) -> None:
    loop = masked_loop(strong)
    assert try_samples(loop, plain_sweeps(loop)) is None


def test_no_batches_are_tried_where_samples_mix() -> None:
    def mean_field(x: Tensor) -> Tensor:
        h, states = torch.zeros_like(x[0]), []
        for x_t in x:
            h = torch.tanh(h + x_t - h.mean())
            states.append(h)
        return torch.stack(states)

    loop = situation(Sample("mean field", mean_field, (torch.randn(COLUMNS, 4, 3),), (COLUMNS,)))
    assert try_samples(loop, plain_sweeps(loop)) is None


def test_a_schedule_may_name_the_batches() -> None:
    torch.manual_seed(0)
    model = Masked(COLUMNS)
    fast = fxsolve.compile(model, schedule=f"jacobi(loop0[0:{COLUMNS}], samples=8:4:2)", backend="eager")
    with torch.no_grad():
        fast(*inputs(2))
        for again in (fast, copy.deepcopy(fast)):
            given = inputs(3)
            again(*given)
            with observe() as seen:
                found = again(*given)
            torch.testing.assert_close(found, model(*given), rtol=1e-6, atol=1e-6)
            assert [one.method for one in seen if one.name == "loop0"] == ["jacobi_by_sample"]
    assert "jacobi_by_sample(" in fast.code
    (certificate,) = fast.report().certificates
    assert certificate.residual <= 1e-6


def test_a_loop_without_smaller_batches_runs_in_order_with_a_note() -> None:
    fast = fxsolve.compile(Masked(COLUMNS), schedule=f"jacobi(loop0[0:{COLUMNS}], samples=16)", backend="eager")
    with torch.no_grad():
        fast(*inputs(2))
    assert str(fast.schedule) == f"gs(block0, loop0_shared, loop0[0:{COLUMNS}])"
    assert fast.report().notes == ("loop0 runs in order: loop0 has 16 samples; batches of 16 are not fewer",)
