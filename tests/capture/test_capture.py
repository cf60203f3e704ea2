"""Capture: the program that comes out equals the program that went in, bit for bit."""

import functools
import weakref
from pathlib import Path

import nflows.distributions
import nflows.flows
import nflows.transforms
import numpy as np
import pytest
import torch
import zuko
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils import _pytree as pytree

from fxsolve.capture.bits import same_bits
from fxsolve.capture.capture import capture
from fxsolve.capture.program import Program
from fxsolve.capture.record.output import rebuild
from fxsolve.capture.verify import verify_program
from fxsolve.errors import CaptureError
from fxsolve.ir.tensor_spec import TensorSpec
from tests.capture.programs import LoopGRU, PixelSampler


def captured(program, *args, **kwargs) -> Program:
    """Capture, check the laws, and check that the module itself runs too."""
    result = capture(program, args, kwargs)
    verify_program(result)
    example = result.example
    outputs = result.module(*example.inputs, *example.noise, *example.cotangents)
    assert len(outputs) == len(result.example.outputs) + len(result.guards)
    assert all(map(same_bits, outputs, result.example.outputs))
    return result


def calls(program: Program) -> list[str]:
    return [str(n.target) for n in program.module.graph.nodes if isinstance(n.target, OpOverload)]


def maf(features: int = 5) -> nn.Module:
    return zuko.flows.MAF(features=features, transforms=2, hidden_features=(8, 8))


def nflows_maf(features: int = 4) -> nn.Module:
    transform = nflows.transforms.MaskedAffineAutoregressiveTransform(features, hidden_features=8)
    return nflows.flows.Flow(transform, nflows.distributions.StandardNormal([features]))


def gradient_of_loop(x: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    y = x
    for _ in range(3):
        y = torch.tanh(y * 1.5)
    return torch.autograd.grad(y.sum(), x)[0]


def in_place_chain(x: Tensor) -> tuple[Tensor, Tensor]:
    y = x.clone()
    row, y_t = y[1], y.t()
    row.mul_(2.0)
    y_t[0].add_(row[0])
    y[y > 1] = 0.5
    y[..., 0] = np.log(2.0)
    y[[0, 2]] = y[[1, 0]] + y[torch.tensor(1), 0]
    y[:, 1:3].copy_(x[:, :2])
    return y, row + 1


def pieces(x: Tensor) -> Tensor:
    (a, b), rows, (c, d) = x.chunk(2, 1), x.unbind(0), x.split(2, 1)
    return torch.cat((a + d, b * c), 1) + rows[2] + x.max(0).values


MAF, NFLOW = maf(), nflows_maf()
FLOW = maf(4)

DETERMINISTIC = {
    "gru": LoopGRU(),
    "gradient": gradient_of_loop,
    "in_place": in_place_chain,
    "pieces": pieces,
    "zuko_inverse": lambda x: FLOW().transform.inv(x[0]),
    "rnn": nn.RNN(4, 3),
    "lstm": nn.LSTM(4, 3),
}


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("grad", [True, False])
def test_the_captured_module_equals_the_program_bit_for_bit(name: str, grad: bool) -> None:
    program, x = DETERMINISTIC[name], torch.randn(3, 4, 4)
    x = x[0] if name in ("gradient", "in_place", "pieces") else x
    with torch.set_grad_enabled(grad or name == "gradient"):
        result = captured(program, x)
        assert all(map(same_bits, result.example.outputs, pytree.tree_leaves(program(x))))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_a_grad_mode_changes_no_value(mode) -> None:
    model, x = LoopGRU(), torch.randn(3, 2, 4)
    with mode():
        result = captured(model, x)
    assert torch.equal(result.example.outputs[0], model(x))
    assert result.grad == (mode is torch.enable_grad)
    assert not any("linear" in call for call in calls(result))


def test_operators_of_inference_mode_are_taken_apart_as_in_other_modes() -> None:
    model, x = LoopGRU(), torch.randn(3, 2, 4)
    with torch.no_grad():
        reference = calls(captured(model, x))
    with torch.inference_mode():
        assert calls(captured(model, x)) == reference


@pytest.mark.parametrize(
    "program",
    [
        functools.partial(PixelSampler().sample, 5),
        lambda: MAF().sample((6,)),
        lambda: NFLOW.sample(6),
        lambda: torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3)).rsample((2,)),
    ],
    ids=["pixels", "zuko", "nflows", "distribution"],
)
def test_a_sampler_gives_the_samples_of_its_seed_and_leaves_the_generator_where_it_was(program) -> None:
    torch.manual_seed(3)
    expected = program()
    state = torch.get_rng_state()
    torch.manual_seed(3)
    with torch.no_grad():
        result = captured(program)
    assert same_bits(result.example.outputs[0], expected)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    again = [draw.sample() for draw in result.draws]
    assert all(map(same_bits, again, result.example.noise))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(4)
    other = program()
    torch.manual_seed(4)
    assert same_bits(result.module(*(draw.sample() for draw in result.draws))[0], other)


def test_a_captured_module_computes_other_inputs_too() -> None:
    model, x, other = LoopGRU(), torch.randn(5, 2, 4), torch.randn(5, 2, 4)
    with torch.no_grad():
        result = captured(model, x)
    assert torch.equal(result.module(other)[0], model(other))


def test_parameters_and_buffers_are_the_models_own_objects() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3).eval())
    result = captured(model, torch.randn(2, 3))
    assert result.module.get_parameter("0.weight") is model[0].weight
    assert result.module.get_buffer("1.running_mean") is model[1].running_mean
    roles = {n.target: result.roles[n.name] for n in result.module.graph.nodes if n.op == "get_attr"}
    assert roles["0.weight"] == "param"
    assert roles["1.running_mean"] == "buffer"


@pytest.mark.parametrize("how", ["closure", "list", "partial", "method", "nested"])
def test_parameters_are_found_through_python(how: str) -> None:
    model = LoopGRU()
    layers = [model]
    programs = {
        "closure": lambda x: model(x),
        "list": lambda x: layers[0](x),
        "partial": functools.partial(lambda net, x: net(x), model),
        "method": model.forward,
        "nested": torch.no_grad()(lambda x: [net(x) for net in layers]),
    }
    result = captured(programs[how], torch.randn(2, 2, 4))
    assert set(result.module.parameters()) == set(model.parameters())
    assert "constant" not in result.roles.values()


def test_parameters_with_names_of_graph_module_attributes_keep_their_identity() -> None:
    model = nn.Module()
    model.graph, model.training_rate = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    result = captured(lambda x: x * model.graph + model.training_rate, torch.ones(2))
    assert {id(p) for p in result.module.parameters()} == {id(model.graph), id(model.training_rate)}

    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.graph = nn.Parameter(torch.ones(2))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.graph

    assert captured(Graph(), torch.ones(2)).roles["graph_"] == "param"


def test_other_tensors_are_live_constants() -> None:
    scale = torch.tensor([2.0, 3.0])
    result = captured(lambda x: x * scale, torch.ones(2))
    scale.fill_(5.0)
    assert torch.equal(result.module(torch.ones(2))[0], torch.tensor([5.0, 5.0]))
    assert "constant" in result.roles.values()


def test_a_literal_may_be_written_in_place() -> None:
    def program(x: Tensor) -> Tensor:
        total = torch.tensor([0.0, 1.0])
        for row in x:
            total += row
        return total

    result = captured(program, torch.randn(3, 2))
    first = result.module(*result.example.inputs)[0]
    assert torch.equal(result.module(*result.example.inputs)[0], first)


def test_noise_that_the_program_overwrites_is_kept_as_it_was_drawn() -> None:
    def program() -> Tensor:
        return torch.randn(3).mul_(2.0).exp_()

    assert len(captured(program).draws) == 1


def test_inputs_are_tensors_in_pytree_order_and_all_else_is_closed_over() -> None:
    def program(data, *, scale: float, extra: Tensor) -> dict:
        return {"sum": data["a"] + data["b"][0] * scale, "nested": [extra, None, "text", 3, (data["unused"] * 0,)]}

    a, b, unused, extra = (torch.randn(2) for _ in range(4))
    result = captured(program, {"a": a, "b": [b], "unused": unused}, scale=2.0, extra=extra)
    assert all(x is y for x, y in zip(result.example.inputs, (a, b, unused, extra), strict=True))
    value = rebuild(result.output, result.module(a, b, unused, extra))
    assert torch.equal(value["sum"], a + b * 2.0)
    assert value["nested"][1:4] == [None, "text", 3]


def test_unused_inputs_and_draws_have_placeholders() -> None:
    def program(x: Tensor, y: Tensor) -> Tensor:
        torch.randn(2)
        return y + 1

    result = captured(program, torch.zeros(2), torch.zeros(2))
    placeholders = [n.name for n in result.module.graph.nodes if n.op == "placeholder"]
    assert placeholders == ["input_0", "input_1", "noise_0"]
    assert [result.roles[name] for name in placeholders] == ["input", "input", "noise"]


def test_an_input_passed_twice_is_read_as_the_first() -> None:
    x = torch.randn(3)
    result = captured(lambda a, b: a - 2 * b, x, x)
    assert torch.equal(result.module(x, torch.full((3,), 9.0))[0], -x)


def test_outputs_keep_their_identity_and_their_gradients() -> None:
    model, x = LoopGRU(), torch.randn(3, 2, 4)
    result = captured(model, x)
    result.example.outputs[0].sum().backward()
    assert model.read.weight.grad is not None
    assert captured(lambda x: x, x).example.outputs[0] is x
    assert captured(lambda: model.read.weight).example.outputs[0] is model.read.weight


def test_every_call_knows_its_spec_and_its_line() -> None:
    for program, args in [(in_place_chain, (torch.randn(4, 4),)), (LoopGRU(), (torch.randn(3, 2, 4),))]:
        result = captured(program, *args)
        for node in result.module.graph.nodes:
            if node.op == "call_function":
                file, line = node.meta["source"].rsplit(":", 1)
                assert Path(file).name in ("test_capture.py", "programs.py"), node.meta["source"]
                assert int(line) > 0
                assert isinstance(node.meta["spec"], tuple)


def test_specs_name_the_shapes_and_dtypes_that_the_module_computes() -> None:
    result = captured(in_place_chain, torch.randn(4, 4))
    interpreter = torch.fx.Interpreter(result.module, garbage_collect_values=False)
    interpreter.run(*result.example.inputs)
    for node, value in interpreter.env.items():
        spec = node.meta.get("spec")
        if isinstance(spec, TensorSpec):
            assert (spec.shape, spec.dtype, spec.device) == (tuple(value.shape), value.dtype, value.device), node


def test_a_program_of_no_calls_is_captured() -> None:
    assert calls(captured(lambda x: x, torch.zeros(2))) == []
    assert calls(captured(LoopGRU(), torch.zeros(1, 2, 4))) != []


def test_recording_keeps_no_intermediate_alive() -> None:
    def program(x: Tensor) -> Tensor:
        y = x * 2
        watch, z = weakref.ref(y), y + 1
        del y
        assert watch() is None
        return z

    captured(program, torch.randn(2))


def test_function_transforms_inside_a_program_are_captured() -> None:
    def program(x: Tensor) -> Tensor:
        return torch.func.vmap(torch.func.grad(lambda row: row.sin().prod()))(x)

    captured(program, torch.randn(3, 4))
    captured(lambda x: torch.func.jacrev(torch.tanh)(x), torch.randn(3))


def test_a_surrogate_gradient_is_captured_as_written() -> None:
    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return (x > 0).to(x)

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            return gradient / (1 + ctx.saved_tensors[0].abs()) ** 2

    def program(x: Tensor) -> Tensor:
        return torch.autograd.grad(Spike.apply(Spike.apply(x * 2) - 0.5).sum(), x)[0]

    x = torch.randn(5, requires_grad=True)
    assert torch.equal(captured(program, x).example.outputs[0], program(x))


def test_verification_refuses_a_changed_graph() -> None:
    program = capture(LoopGRU(), (torch.randn(2, 2, 4),), {})
    node = next(n for n in program.module.graph.nodes if n.target is torch.ops.aten.tanh.default)
    node.target = torch.ops.aten.sin.default
    with pytest.raises(CaptureError, match="output 0 of the captured LoopGRU differs"):
        verify_program(program)


def test_verification_refuses_a_mutable_operator() -> None:
    program = capture(lambda x: x.clone() + 1, (torch.randn(2),), {})
    node = next(n for n in program.module.graph.nodes if n.target is torch.ops.aten.add.Tensor)
    node.target = torch.ops.aten.add_.Tensor
    with pytest.raises(CaptureError, match=r"add_\.Tensor is left"):
        verify_program(program)
