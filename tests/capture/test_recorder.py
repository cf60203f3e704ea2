"""The recorder writes down a run: its inputs, what it finds outside, its draws and its guards."""

import pytest
import torch
from torch import Tensor, fx, nn

from fxsolve.capture.communication import Line
from fxsolve.capture.record.dispatch import Dispatcher
from fxsolve.capture.record.recorder import Recorder
from fxsolve.errors import CaptureError, SideEffectError
from tests.capture.recording import recorder_of, run

OUTER = torch.rand(3)
X = torch.rand(2, 3)


def values(recorder: Recorder, *results: Tensor) -> list[Tensor]:
    """What the record computes for the results, from the inputs and draws of the run."""
    recorder.graph.output([recorder.node_of(result) for result in results])
    given = [one.tensor for one in recorder.externals.all() if isinstance(one.place, int)]
    return fx.GraphModule(recorder.root, recorder.graph)(*given, *recorder.noise)


def test_a_record_computes_what_the_run_did() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3).eval())
    recorder = recorder_of((X,), model)
    with torch.no_grad():
        result = run(recorder, lambda x: model(x) * OUTER + torch.rand(3), X)
    assert torch.equal(values(recorder, result)[0], result)
    roles = {node.target: recorder.roles[node.name] for node in recorder.graph.find_nodes(op="get_attr")}
    assert list(roles) == list(recorder.root)
    assert (roles["0.weight"], roles["1.running_mean"]) == ("param", "buffer")
    assert list(roles.values()).count("constant") == 1


def test_a_tensor_that_is_passed_twice_is_the_first_of_its_inputs() -> None:
    recorder = recorder_of((X, X))
    run(recorder, torch.neg, X)
    first, second = recorder.graph.find_nodes(op="placeholder")
    assert (len(first.users), len(second.users)) == (1, 0)


def test_inputs_that_are_parameters_or_no_plain_tensors_are_refused() -> None:
    model = nn.Linear(3, 3)
    with pytest.raises(CaptureError, match=r"input 0 is the model's own weight; do not pass it"):
        recorder_of((model.weight,), model)
    with pytest.raises(CaptureError, match="input 1 has layout"):
        recorder_of((X, X.to_sparse()))


def test_a_number_that_is_read_again_is_one_guard_until_something_is_written() -> None:
    def program(x: Tensor) -> None:
        x.sum(), x[0, 0].item(), (y := x.sum()).item(), y.item()
        x.clone().add_(1)
        y.item()

    recorder = recorder_of((X,))
    run(recorder, program, X)
    assert [guard.expected for guard in recorder.guards] == [X[0, 0].item(), X.sum().item(), X.sum().item()]
    assert all("test_recorder.py:" in guard.source for guard in recorder.guards)


def test_a_guard_is_about_the_value_at_the_time_of_the_read() -> None:
    def program(x: Tensor) -> Tensor:
        y = x.clone()
        y.sum().item(), y[0, 0].item()
        return y.zero_()

    recorder = recorder_of((X,))
    result = run(recorder, program, X)
    recorder.node_of(result)
    recorder.graph.output(recorder.guard_nodes)
    assert [one.item() for one in fx.GraphModule({}, recorder.graph)(X)] == [X.sum().item(), X[0, 0].item()]


def test_noise_that_the_program_writes_over_is_kept_as_it_was_drawn(seed: int) -> None:
    recorder = recorder_of()
    run(recorder, lambda: torch.rand(3).zero_())
    torch.manual_seed(seed)
    assert torch.equal(recorder.noise[0], torch.rand(3))
    (draw,) = recorder.draws
    torch.manual_seed(seed)
    assert torch.equal(draw.sample(), recorder.noise[0])


@pytest.mark.parametrize("is_known", [False, True])
def test_what_is_drawn_from_a_generator_made_in_the_call_is_a_constant(is_known: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    known = {generator._cdata: (generator, generator.get_state())} if is_known else {}
    recorder = Dispatcher({}, known, Line())
    run(recorder, lambda: torch.rand(3, generator=generator))
    assert (len(recorder.draws), len(recorder.root)) == ((1, 0) if is_known else (0, 1))


def test_a_write_that_is_more_than_new_values_is_refused_before_it_happens() -> None:
    x = X.clone()
    with pytest.raises(SideEffectError, match="writes into input 0, which outlives the call, and changes its shape"):
        run(recorder_of((x,)), torch.Tensor.t_, x)
    assert x.shape == X.shape


def test_calls_of_the_backward_pass_have_the_line_that_they_differentiate() -> None:
    x = X.clone().requires_grad_()
    recorder = recorder_of((x,))
    y = run(recorder, lambda x: (x * 2).exp(), x)
    line = next(node.meta["source"] for node in recorder.graph.nodes if node.op == "call_function")
    cotangent = torch.ones_like(y)
    recorder.add_cotangent(cotangent, 0)
    recorder.backward = True
    run(recorder, lambda: torch.autograd.grad(y, x, cotangent))
    late = [node.meta["source"] for node in recorder.graph.nodes if "backward" in node.meta]
    assert set(late) == {line} != {""}
    assert recorder.roles["cotangent_0"] == "cotangent"
