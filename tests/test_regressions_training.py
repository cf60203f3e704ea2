"""Training scripts that were wrong, warned, or were given a wrong reason."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._vmap_internals import _vmap
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

import fxsolve
from fxsolve.cli import main
from fxsolve.errors import InputError


class Recurrence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(3, 4)
        self.state = nn.Linear(4, 4)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[0], 4)
        for t in range(x.shape[1]):
            h = torch.tanh(self.inputs(x[:, t]) + self.drop(self.state(h)))
        return h


def trained(model: nn.Module, run: Any, call: Callable[..., Tensor]) -> list[Tensor]:
    """The weights after a few steps of Adam."""
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(4):
        torch.manual_seed(step)
        x = torch.randn(2, 8, 3, requires_grad=True)
        optimizer.zero_grad()
        loss = call(run, x).square().mean()
        loss.backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def models() -> tuple[Recurrence, Recurrence]:
    made = []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(Recurrence())
    return made[0], made[1]


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_compiled_module_can_be_checkpointed(reentrant: bool):
    def call(run, x):
        return checkpoint(run, x, use_reentrant=reentrant)

    plain, model = models()
    expected = trained(plain, plain, call)
    got = trained(model, fxsolve.compile(model, schedule="gs", backend="eager"), call)
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


def test_hooks_on_what_autograd_saves_see_what_the_program_saves():
    plain, model = models()
    fast = fxsolve.compile(model.eval(), schedule="gs", backend="eager")
    x = torch.randn(2, 8, 3)
    fast(x)

    def shapes(run: Any) -> list[torch.Size]:
        seen = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: seen.append(t.shape) or t, lambda t: t):
            run(x)
        return seen

    assert shapes(fast) == shapes(plain.eval())


def test_parameters_that_are_computed_are_recorded_without_a_warning():
    # As in meta-learning: torch warns, here an error, where `grad` of a tensor that is no leaf is read.
    plain, model = models()
    fast = fxsolve.compile(model.eval(), schedule="gs", backend="eager")
    x = torch.randn(2, 8, 3)
    grads = []
    runs: list[tuple[nn.Module, Any]] = [(plain.eval(), plain), (model, fast)]
    for base, run in runs:
        weights = {name: p * 1.5 for name, p in base.named_parameters()}
        for _ in range(2):
            torch.func.functional_call(run, weights, (x,)).square().sum().backward(retain_graph=True)
        grads.append([p.grad for p in base.parameters()])
    assert fast.report().status == "emitted"
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_an_error_of_a_backward_hook_is_told_as_one_of_the_backward_pass():
    _, model = models()

    def fail(module: nn.Module, gradients: Any) -> None:
        raise KeyError("missing")

    model.state.register_full_backward_pre_hook(fail)
    fast = fxsolve.compile(model, schedule="gs", backend="eager")
    result = fast(torch.randn(2, 8, 3, requires_grad=True))
    assert fast.report().reason == "the backward pass cannot be recorded: KeyError: 'missing'"
    with pytest.raises(KeyError, match="missing"):
        result.sum().backward()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"program": 3}, "the program is a int; it must be a module or a function"),
        ({"example_inputs": torch.zeros(2, 3)}, "example_inputs is a Tensor; it must be a tuple of arguments"),
        ({"schedule": None}, "schedule is a NoneType; it must be text"),
        ({"tolerance": "small"}, "tolerance is 'small'; it must be 0 or a positive number"),
    ],
)
def test_options_of_another_kind_are_refused_at_once(options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        fxsolve.compile(**{"program": Recurrence(), **options})


@pytest.mark.parametrize("tolerance", ["-1", "nan"])
def test_no_difference_can_be_within_such_a_tolerance(tolerance: str, capsys: pytest.CaptureFixture[str]):
    assert main(["run", "examples/gru_loop.py:factory", "--check", f"--tolerance={tolerance}"]) == 2
    assert "is not 0 or a positive number" in capsys.readouterr().err


@pytest.mark.parametrize("schedule", ["gs", "jacobi", "newton"])
def test_a_batch_of_gradients_can_be_asked_for_at_once(schedule: str):
    plain, model = (one.double() for one in models())
    fast = fxsolve.compile(model, schedule=schedule, backend="eager")
    x = torch.randn(2, 8, 3, dtype=torch.float64, requires_grad=True)
    fast(x)
    rows = []
    for run, base in ((plain, plain), (fast, model)):
        torch.manual_seed(1)
        h = run(x)
        cotangents = torch.arange(3.0 * h.numel(), dtype=h.dtype).reshape(3, *h.shape)
        rows.append(torch.autograd.grad(h, [x, *base.parameters()], cotangents, is_grads_batched=True))
    assert fast.report().status == "emitted"
    torch.testing.assert_close(rows[1], rows[0], rtol=1e-10, atol=1e-10)


def test_a_jacobian_of_jacobians_can_be_asked_for_in_batches():
    plain, model = (one.double().eval() for one in models())
    fast = fxsolve.compile(model, schedule="jacobi", backend="eager")
    x = torch.randn(2, 8, 3, dtype=torch.float64, requires_grad=True)
    fast(x)
    cotangents = torch.randn(3, 2, 2, 4, dtype=torch.float64)

    def nested(run: Any) -> Tensor:
        h = run(x)

        def inner(batch: Tensor) -> Tensor:
            return torch.autograd.grad(h, x, batch, retain_graph=True, is_grads_batched=True)[0]

        return _vmap(inner)(cotangents)

    torch.testing.assert_close(nested(fast), nested(plain), rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")  # torch calls it at the first use of forward mode
def test_forward_mode_derivatives_are_those_of_the_program():
    plain, model = (one.eval() for one in models())
    fast = fxsolve.compile(model, schedule="newton", backend="eager")
    x = torch.randn(2, 8, 3)
    with torch.no_grad():
        fast(x)
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, torch.ones_like(x))
            ours, theirs = (forward_ad.unpack_dual(run(dual)).tangent for run in (fast, plain))
        fast(x)
    assert fast.report().status == "emitted"
    assert ours is not None
    assert theirs is not None
    assert torch.equal(ours, theirs)


def test_a_search_for_anomalies_leaves_no_mark():
    _, model = models()
    fast = fxsolve.compile(model, schedule="gs", backend="eager")
    x = torch.randn(2, 8, 3)
    with torch.autograd.set_detect_anomaly(True):
        fast(x).sum().backward()
    fast(x)
    assert fast.report().status == "emitted"


@pytest.mark.parametrize("schedule", ["gs", "jacobi", "newton"])
def test_a_view_that_a_sum_and_the_backward_pass_read_stays(schedule: str):
    # The score of a path of labels, as of a conditional random field; the columns of labels lie apart in memory.
    def score(logits: Tensor, labels: Tensor, change: Tensor) -> Tensor:
        state, total = logits[:, 0], logits.new_zeros(len(logits))
        for t in range(1, logits.shape[1]):
            state = torch.logsumexp(state[:, :, None] + change, 1) + logits[:, t]
            total = total + logits[:, t].gather(1, labels[:, t : t + 1])[:, 0]
        return (torch.logsumexp(state, 1) - total).mean()

    fast = fxsolve.compile(score, schedule=schedule, backend="eager")
    labels = torch.randint(5, (4, 12))
    for _ in range(2):
        logits, change = torch.randn(4, 12, 5, requires_grad=True), torch.randn(5, 5, requires_grad=True)
        expected = torch.autograd.grad(score(logits, labels, change), [logits, change])
        torch.testing.assert_close(torch.autograd.grad(fast(logits, labels, change), [logits, change]), expected)
    assert fast.report().status == "emitted"
