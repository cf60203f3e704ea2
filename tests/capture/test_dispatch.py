"""What the recorder does about an operator follows from its kind."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.capture.record.dispatch import Dispatcher
from fxsolve.errors import CaptureError, CommunicationError
from tests.capture.recording import recorder_of, run, targets

aten = torch.ops.aten
X = torch.rand(2, 3)


def recorded(program) -> Dispatcher:
    recorder = recorder_of((X,))
    run(recorder, program, X)
    return recorder


def test_a_composite_is_written_down_by_its_parts() -> None:
    assert targets(recorded(lambda x: torch.matmul(x, x.t()))) == [aten.t.default, aten.mm.default]


def test_a_literal_is_named_and_a_copy() -> None:
    recorder = recorded(lambda x: x + torch.tensor([1.0, 2.0, 3.0]).mul_(2))
    assert targets(recorder) == [aten.clone.default, aten.mul_.Tensor, aten.add.Tensor]
    (name,) = recorder.listener.literals
    assert recorder.root[name].tolist() == [1.0, 2.0, 3.0]  # as before it was written into


def test_a_draw_is_an_input_and_a_read_a_guard() -> None:
    recorder = recorded(lambda x: x + torch.rand(3) if x.sum() > 0 else x)
    assert [recorder.roles[node.name] for node in recorder.graph.find_nodes(op="placeholder")] == ["input", "noise"]
    assert [guard.expected for guard in recorder.guards] == [True]


def test_a_name_for_the_profiler_leaves_no_trace() -> None:
    def program(x: Tensor) -> Tensor:
        with torch.profiler.record_function("part"):
            return x.neg()

    assert targets(recorded(program)) == [aten.neg.default]


@pytest.mark.parametrize("grad", [False, True])
def test_a_kernel_that_asks_for_the_grad_mode_is_told_it(grad: bool) -> None:
    lstm, x = torch.nn.LSTM(3, 2).eval(), torch.rand(4, 1, 3)
    recorder = recorder_of((x,), lstm)
    with torch.set_grad_enabled(grad):
        run(recorder, lstm, x)
    calls = [node for node in recorder.graph.nodes if node.target is aten.mkldnn_rnn_layer.default]
    assert [node.args[-1] for node in calls] == [grad] * len(calls)
    assert torch.backends.mkldnn.is_available() == bool(calls)


def test_an_operator_that_takes_functions_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"test_dispatch\.py:\d+: the operator map_impl takes functions"):
        run(recorder_of((X,)), lambda x: torch.ops.higher_order.map_impl(lambda row: (row.exp(),), (x,), ()), X)


def test_an_operator_on_a_storage_is_refused() -> None:
    storage = torch.zeros(6).untyped_storage()
    with pytest.raises(
        CaptureError, match=r"aten\.set_\.source_Storage\S* works on a storage; fxsolve handles tensors"
    ):
        run(recorder_of(), lambda: torch.empty(0).set_(storage))


def test_an_operator_that_communicates_uses_the_line_and_is_then_the_programs_own() -> None:
    wait = torch.ops._c10d_functional.wait_tensor
    recorder = recorder_of((X,))
    found = run(recorder, lambda x: (x.neg(), wait(x), x.exp())[2], X)
    assert "wait_tensor" in recorder.line.used
    assert torch.equal(found, X.exp())
    assert targets(recorder) == [aten.neg.default]
    with pytest.raises(CommunicationError, match="must happen exactly once"):
        run(recorder_of((X,), is_open=False), wait, X)


def test_an_error_that_the_program_catches_ends_the_recording_all_the_same() -> None:
    def program(x: Tensor) -> Tensor:
        try:
            return torch.poisson(x)
        except CaptureError:
            return F.relu(x)

    recorder = recorder_of((X,))
    with pytest.raises(CaptureError, match="no rule to draw the random numbers of aten") as caught:
        run(recorder, program, X)
    assert caught.value is recorder.error


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx, cotangent: Tensor) -> Tensor:
        return cotangent * 2


def test_what_a_node_from_before_the_run_computes_is_refused_or_not_written_down() -> None:
    x = torch.rand(2, requires_grad=True)
    y = Scale.apply(x)
    recorder = recorder_of((x,))
    with pytest.raises(CaptureError, match="differentiates through ScaleBackward, which is from before the call"):
        run(recorder, lambda x: torch.autograd.grad(y.sum(), x, retain_graph=True)[0], x)
    recorder = recorder_of((x,))
    recorder.backward = True
    (gradient,) = run(recorder, lambda x: torch.autograd.grad(y.sum(), x), x)
    assert not any(target is aten.mul.Tensor for target in targets(recorder))
    assert len(recorder.outside) == 1
    with pytest.raises(CaptureError, match="an argument was computed from another tensor that the program uses"):
        recorder.node_of(recorder.outside[0])
    assert torch.equal(gradient, torch.full((2,), 2.0))
