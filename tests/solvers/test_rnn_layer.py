"""The LSTM layer of oneDNN, and its derivative, on tensors of any strides and where gradients are disabled."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.solvers.rnn_layer import rnn_layer, rnn_layer_backward

B, T, N, H = 2, 4, 3, 5
REST = (False, [], 2, H, 1, True, False, False)  # an LSTM of one layer, forwards in time, with biases

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


def _arguments() -> list[Tensor]:
    torch.manual_seed(3)
    weights = [weight.detach() for weight in nn.LSTM(N, H).parameters()]
    return [torch.randn(T, B, N), *weights, torch.randn(B, H), torch.randn(B, H)]


def _apart(value: Any) -> Any:
    """The same tensor with a gap behind each entry."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    spread = torch.full((*value.shape, 2), 7.0)
    spread[..., 0] = value
    return spread[..., 0]


@torch.no_grad()
def test_strides_do_not_matter() -> None:
    arguments = _arguments()
    outputs = rnn_layer(*arguments, *REST, True)
    assert all(map(torch.equal, outputs[:3], rnn_layer(*map(_apart, arguments), *REST, True)[:3]))
    given = [*arguments, *outputs[:3], *map(torch.cos, outputs[:3])]
    rest = (False, 2, H, 1, True, True, False, [], False, outputs[3])
    spread = rnn_layer_backward(*map(_apart, given), *rest)
    assert all(map(torch.equal, rnn_layer_backward(*given, *rest), spread))


@torch.no_grad()
def test_a_layer_in_training_keeps_its_workspace_without_gradients() -> None:
    assert rnn_layer(*_arguments(), *REST, True)[3].numel()


class _StepByStep(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.LSTM(N, H, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        state, outputs = None, []
        for t in range(T):
            output, state = self.layer(torch.tanh(x[:, t : t + 1]), state)
            outputs.append(output)
        return torch.cat(outputs, 1)


@torch.no_grad()
def test_a_layer_may_read_what_was_computed_for_all_steps_at_once() -> None:
    model = _StepByStep()
    parts = "block0, jacobi(loop0_inputs[0:3]), loop0[0:3], jacobi(loop0_outputs[0:3]), block1"
    fast = fxsolve.compile(model, schedule=f"gs({parts})", backend="eager")
    # On zeros the layout does not show in the values.
    for x in (torch.zeros(B, T, N), torch.randn(B, T, N)):
        torch.testing.assert_close(fast(x), model(x))
    report = fast.report()
    assert report.status == "emitted", report.reason
    assert {run.method for run in report.runs} == {"jacobi", "gauss_seidel"}
