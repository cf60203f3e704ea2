"""A batched linear layer is one product with its bias, as each step is."""

import torch
from torch import Tensor, nn

from fxsolve.ir.spec import Repeat
from fxsolve.lower.batch import batch
from fxsolve.stages import capture, partition

aten = torch.ops.aten


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5).double()

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([torch.tanh(self.linear(x_t)) for x_t in x])


def test_a_linear_layer_of_all_steps_is_one_addmm() -> None:
    model, x = Layer(), torch.randn(6, 2, 3, dtype=torch.float64)
    with torch.no_grad():
        system = partition(capture(model, x)).system
        (repeat,) = [equation for equation in system.equations if isinstance(equation, Repeat)]
        sweep = batch(repeat, 6)
        targets = [node.target for node in sweep.graph.nodes if node.op == "call_function"]
        assert targets.count(aten.addmm.default) == 1
        assert aten.mm.default not in targets
        assert aten.add.Tensor not in targets
        given = {"x": x, "weight": model.linear.weight.t(), "bias": model.linear.bias}
        order = [node.meta["val"].shape for node in sweep.graph.find_nodes(op="placeholder")]
        arguments = [next(value for value in given.values() if value.shape == shape) for shape in order]
        torch.testing.assert_close(sweep(*arguments)[0], model(x), rtol=1e-14, atol=1e-14)
