"""Spiking and liquid neurons, and recurrent cells, in loops over time."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from tests.thirdparty.checking import Case, check_rolled, library, two_inputs

pytestmark = [pytest.mark.thirdparty, pytest.mark.filterwarnings("ignore")]


class Spiking(nn.Module):
    """Two layers of leaky neurons, as in the tutorials of snntorch."""

    def __init__(self, snn: Any) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(10, 16), snn.Leaky(beta=0.9)
        self.fc2, self.lif2 = nn.Linear(16, 4), snn.Leaky(beta=0.8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes = []
        for step in range(x.shape[0]):
            spk1, mem1 = self.lif1(self.fc1(x[step]), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
        return torch.stack(spikes), mem2


def test_snntorch_neurons_set_attributes_at_every_step() -> None:
    model = Spiking(library("snntorch"))
    model(torch.zeros(20, 3, 10))  # makes the membranes of this batch size
    check_rolled("snntorch_leaky", Case(model, *two_inputs((20, 3, 10))), [20, 20, 20])


class Hidden(nn.Module):
    """The same two layers, which keep their membranes as attributes from call to call."""

    def __init__(self, snn: Any) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(10, 16), snn.Leaky(beta=0.9, init_hidden=True)
        self.fc2, self.lif2 = nn.Linear(16, 4), snn.Leaky(beta=0.8, init_hidden=True, output=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        spikes, membranes = zip(*(self.lif2(self.fc2(self.lif1(self.fc1(step)))) for step in x), strict=True)
        return torch.stack(spikes), membranes[-1]


def test_snntorch_hidden_membranes_go_from_call_to_call() -> None:
    snn, utils = library("snntorch"), library("snntorch.utils")
    model, same = Hidden(snn), Hidden(snn)
    same.load_state_dict(model.state_dict())
    fast = fxsolve.compile(model, schedule="gs", backend="eager")
    with torch.no_grad():
        for number in range(6):
            if number == 4:
                utils.reset(model)  # resets every neuron that there is
            x = torch.rand(20, 3, 10)
            for found, expected in zip(fast(x), same(x), strict=True):
                assert torch.equal(found, expected)
            for ours, theirs in ((model.lif1, same.lif1), (model.lif2, same.lif2)):
                assert torch.equal(ours.mem, theirs.mem)
                assert torch.equal(ours.reset, theirs.reset)
    assert str(fast.schedule) != "original", fast.report().reason
    assert [loop.length for loop in fast.report().loops] == [20, 20, 20]
    assert [entry.calls for entry in fast.entries] == [0, 4]


def test_ncps_ltc_unfolds_an_ode_in_every_step() -> None:
    wiring = library("ncps.wirings").AutoNCP(16, 4, seed=1)
    model = library("ncps.torch").LTC(5, wiring).eval()
    check_rolled("ncps_ltc", Case(model, *two_inputs((2, 12, 5))), [12, 12, 12])


def test_ncps_cfc() -> None:
    model = library("ncps.torch").CfC(5, 16).eval()
    check_rolled("ncps_cfc", Case(model, *two_inputs((2, 20, 5))), [20])


def test_ncps_cfc_with_wiring_and_memory() -> None:
    wiring = library("ncps.wirings").AutoNCP(16, 4, seed=1)
    model = library("ncps.torch").CfC(5, wiring, mixed_memory=True).eval()
    check_rolled("ncps_cfc_memory", Case(model, *two_inputs((2, 16, 5))), [16, 16])


def test_mingru_token_by_token() -> None:
    cell = library("minGRU_pytorch").minGRU(8, expansion_factor=1.5)

    def run(x: Tensor) -> Tensor:
        hidden, outputs = None, []
        for token in x.unbind(1):
            y, hidden = cell(token[:, None], hidden, return_next_prev_hidden=True)
            outputs.append(y)
        return torch.cat(outputs, 1)

    check_rolled("mingru", Case(run, *two_inputs((2, 24, 8))), [23, 23, 23])


def test_conv_lstm() -> None:
    model = library("conv_lstm").ConvLSTM(2, [4, 4], [3, 3], 2).eval()
    check_rolled("conv_lstm", Case(model, *two_inputs((1, 10, 2, 6, 6))), [10, 10])


def test_lru_keeps_its_state_as_an_attribute() -> None:
    model = library("LRU_pytorch").LRU(4, 3, 8)
    check_rolled("lru", Case(model, *two_inputs((2, 10, 4))), [10] * 6)
