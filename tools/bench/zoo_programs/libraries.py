"""Programs of other people, from their packages (`pip install .[thirdparty]`), with random weights."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from zoo_programs.member import Factory, Member


def _snntorch() -> Member:
    import snntorch

    layer, leaky = nn.Linear(16, 32), snntorch.Leaky(beta=0.9)

    def run(x: Tensor) -> Tensor:
        membrane, spikes = leaky.init_leaky(), []
        for x_t in x:
            spike, membrane = leaky(layer(x_t), membrane)
            spikes.append(spike)
        return torch.stack(spikes)

    return Member(run, (torch.randn(100, 8, 16),))


def _ncps() -> Member:
    from ncps.torch import CfC

    model = CfC(8, 24, mode="pure")
    return Member(lambda x: model(x)[0], (torch.randn(4, 64, 8),))


def _crf() -> Member:
    from torchcrf import CRF

    model = CRF(8, batch_first=True)
    mask = torch.arange(48) < torch.randint(20, 48, (8, 1))
    mask[:, 0] = True
    return Member(_Loss(model, torch.randint(0, 8, (8, 48)), mask), (torch.randn(8, 48, 8),), True)


class _Loss(nn.Module):
    def __init__(self, model: nn.Module, tags: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.model, self.tags, self.mask = model, tags, mask

    def forward(self, x: Tensor) -> Tensor:
        return -self.model(x, self.tags, mask=self.mask)


def _zuko() -> Member:
    import zuko

    flow = zuko.flows.MAF(24, transforms=3, hidden_features=(64, 64))
    return Member(lambda z: flow().transform.inv(z), (torch.randn(16, 24),))


def _torchdiffeq(method: str) -> Member:
    from torchdiffeq import odeint

    net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 8))
    times = torch.linspace(0, 1, 30)
    return Member(lambda x: odeint(lambda _, y: net(y), x, times, method=method)[-1], (torch.randn(16, 8),))


def _mamba() -> Member:
    from mambapy.mamba import Mamba, MambaConfig

    model = Mamba(MambaConfig(d_model=16, n_layers=2, d_state=8, pscan=False)).eval()
    return Member(model, (torch.randn(2, 64, 16),))


def _diffusers() -> Member:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    net = nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))
    sampler: Any = DDIMScheduler()
    sampler.set_timesteps(40)

    def run(x: Tensor) -> Tensor:
        for t in sampler.timesteps:
            time = (t / 1000).expand(x.shape)
            x = sampler.step(net(torch.cat([x, time], 1)), t, x).prev_sample
        return x

    return Member(run, (torch.randn(2, 1, 8, 8),))


def _geomloss() -> Member:
    from geomloss import SamplesLoss

    loss = SamplesLoss("sinkhorn", blur=0.05, backend="tensorized")
    return Member(loss, (torch.rand(64, 2), torch.rand(64, 2)))


def _conv_lstm() -> Member:
    from conv_lstm import ConvLSTM

    return Member(ConvLSTM(2, [4, 4], [3, 3], 2).eval(), (torch.randn(2, 24, 2, 8, 8),))


def _torchsde() -> Member:
    import torchsde

    class Equation(nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def __init__(self) -> None:
            super().__init__()
            self.drift = nn.Linear(4, 4)

        def f(self, t: Tensor, y: Tensor) -> Tensor:
            return self.drift(y)

        def g(self, t: Tensor, y: Tensor) -> Tensor:
            return 0.1 * torch.sigmoid(y)

    equation, times = Equation(), torch.linspace(0, 1, 21)
    path = torchsde.BrownianInterval(0.0, 1.0, (8, 4), entropy=0)
    return Member(lambda x: torchsde.sdeint(equation, x, times, bm=path, method="euler", dt=0.05), (torch.randn(8, 4),))


def _quietly(make: Factory) -> Factory:
    def made() -> Member:
        warnings.simplefilter("ignore")
        return make()

    return made


PROGRAMS: dict[str, Factory] = {
    "snntorch, Leaky": _quietly(_snntorch),
    "ncps, CfC": _quietly(_ncps),
    "pytorch-crf, training": _quietly(_crf),
    "zuko, MAF": _quietly(_zuko),
    "torchdiffeq, RK4": _quietly(lambda: _torchdiffeq("rk4")),
    "torchdiffeq, dopri5": _quietly(lambda: _torchdiffeq("dopri5")),
    "mambapy": _quietly(_mamba),
    "diffusers, DDIM": _quietly(_diffusers),
    "geomloss, Sinkhorn": _quietly(_geomloss),
    "conv-lstm": _quietly(_conv_lstm),
    "torchsde, Euler": _quietly(_torchsde),
}
