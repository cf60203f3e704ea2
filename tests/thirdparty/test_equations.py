"""Solvers of differential equations, filters and other step by step algorithms."""

import pytest
import torch
from torch import Tensor, nn

from tests.thirdparty.checking import Case, check_equal, check_rolled, library, two_inputs

pytestmark = [pytest.mark.thirdparty, pytest.mark.filterwarnings("ignore")]


def _field() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))


@pytest.mark.parametrize("method", ["euler", "rk4"])
def test_torchdiffeq_reads_time_stamps(method: str) -> None:
    odeint, field, times = library("torchdiffeq").odeint, _field(), torch.linspace(0, 1, 17)

    def run(y: Tensor) -> Tensor:
        return odeint(lambda t, y: field(y) * torch.cos(t), y, times, method=method)

    check_rolled(f"torchdiffeq_{method}", Case(run, *two_inputs((3, 4))), [15, 15], guards=68)


def test_torchdiffeq_with_smaller_steps_than_the_stamps_that_are_asked_for() -> None:
    odeint, field, times = library("torchdiffeq").odeint, _field(), torch.tensor([0.0, 0.5, 1.0])

    def run(y: Tensor) -> Tensor:
        return odeint(lambda t, y: field(y), y, times, method="rk4", options={"step_size": 1 / 16})

    check_rolled("torchdiffeq_step_size", Case(run, *two_inputs((3, 4))), [8, 8, 8, 8], guards=27)


class Diffusion(nn.Module):
    """dy = tanh(A y) dt + sigmoid(y) / 10 dW."""

    noise_type, sde_type = "diagonal", "ito"

    def __init__(self) -> None:
        super().__init__()
        self.drift = nn.Linear(3, 3)

    def f(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.drift(y))

    def g(self, t: Tensor, y: Tensor) -> Tensor:
        return 0.1 * torch.sigmoid(y)


def test_torchsde_seeds_generators_of_its_own() -> None:
    torchsde, sde, times = library("torchsde"), Diffusion(), torch.linspace(0, 1, 3)

    def run(y: Tensor) -> Tensor:
        noise = torchsde.BrownianInterval(0.0, 1.0, size=y.shape, entropy=7)
        return torchsde.sdeint(sde, y, times, bm=noise, method="euler", dt=1 / 16)

    case = Case(run, *two_inputs((4, 3)))
    check_rolled("torchsde_euler", case, [7] * 6, guards=57)


def _kalman_filter() -> tuple:
    kf = library("torch_kf")
    model = torch.tensor([[1.0, 1.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    noise = 0.01 * torch.eye(2), 0.1 * torch.eye(1)
    start = kf.GaussianState(torch.zeros(3, 2, 1), torch.eye(2).expand(3, 2, 2))
    return kf.KalmanFilter(model[0], model[1], noise[0], noise[1]), start


def test_torch_kf_filter_checks_every_measurement() -> None:
    kalman, start = _kalman_filter()

    def run(z: Tensor) -> tuple[Tensor, Tensor]:
        state = kalman.filter(start, z, return_all=True)
        return state.mean, state.covariance

    check_rolled("torch_kf_filter", Case(run, *two_inputs((20, 3, 1, 1))), [19, 19, 19], guards=40)


def test_torch_kf_smoother_runs_backwards() -> None:
    kalman, start = _kalman_filter()

    def run(z: Tensor) -> Tensor:
        return kalman.rts_smooth(kalman.filter(start, z, return_all=True)).mean

    check_rolled("torch_kf_smoother", Case(run, *two_inputs((16, 3, 1, 1))), [15, 15, 15, 15, 15], guards=47)


def test_torchcrf_likelihood() -> None:
    crf, tags = library("torchcrf").CRF(5), torch.randint(0, 5, (16, 3))
    check_rolled("torchcrf", Case(lambda scores: crf(scores, tags), *two_inputs((16, 3, 5))), [15, 15, 15], guards=2)


def test_geomloss_sinkhorn() -> None:
    loss = library("geomloss").SamplesLoss("sinkhorn", p=2, blur=0.05, diameter=8.0, backend="tensorized")
    check_rolled("geomloss_sinkhorn", Case(loss, *two_inputs((20, 3), (22, 3))), [10, 10], guards=0)


def test_torchmin_bfgs_reads_step_sizes_that_differ_from_input_to_input() -> None:
    minimize, a = library("torchmin").minimize, torch.randn(6, 6)
    a = a @ a.T + 6 * torch.eye(6)

    def run(x: Tensor) -> Tensor:
        return minimize(lambda v: 0.5 * v @ a @ v - v.sum(), x, method="bfgs", max_iter=8).x

    check_equal(Case(run, *two_inputs((6,))))
