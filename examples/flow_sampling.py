"""Sample and invert masked autoregressive flows (Papamakarios et al. 2017) of zuko and nflows, through fxsolve."""

import argparse
from collections.abc import Callable, Sequence

import torch
import zuko
from nflows.flows import MaskedAutoregressiveFlow
from torch import Tensor, nn

from comparing import compare
from digits import dequantiser, grey
from training import fit

Sampler = Callable[[], Tensor]
Inverter = Callable[[Tensor], Tensor]


def zuko_flow(features: int) -> zuko.flows.MAF:
    return zuko.flows.MAF(features, transforms=3, hidden_features=(256, 256))


def zuko_log_prob(flow: nn.Module, x: Tensor) -> Tensor:
    return flow().log_prob(x)


def zuko_sampler(flow: nn.Module, n: int) -> Sampler:
    def sample() -> Tensor:
        with torch.no_grad():
            return flow().sample((n,))

    return sample


def zuko_inverter(flow: nn.Module) -> Inverter:
    def invert(z: Tensor) -> Tensor:
        with torch.no_grad():
            return flow().transform.inv(z)

    return invert


def nflows_flow(features: int) -> MaskedAutoregressiveFlow:
    # Sampling with residual blocks, the default, overflows in nflows itself for some z of a trained flow.
    return MaskedAutoregressiveFlow(
        features, hidden_features=256, num_layers=3, num_blocks_per_layer=2, use_residual_blocks=False
    )


def nflows_log_prob(flow: MaskedAutoregressiveFlow, x: Tensor) -> Tensor:
    return flow.log_prob(x)


def nflows_sampler(flow: MaskedAutoregressiveFlow, n: int) -> Sampler:
    def sample() -> Tensor:
        with torch.no_grad():
            return flow.sample(n)

    return sample


def nflows_inverter(flow: MaskedAutoregressiveFlow) -> Inverter:
    def invert(z: Tensor) -> Tensor:
        with torch.no_grad():
            return flow._transform.inverse(z)[0]

    return invert


LIBRARIES = {
    "zuko": (zuko_flow, zuko_log_prob, zuko_sampler, zuko_inverter),
    "nflows": (nflows_flow, nflows_log_prob, nflows_sampler, nflows_inverter),
}


def trained(library: str, side: int, seconds: float = 60.0, device: str = "cpu") -> nn.Module:
    """A flow fitted to the digits at side x side pixels."""
    build, log_prob, _, _ = LIBRARIES[library]
    torch.manual_seed(0)
    flow = build(side * side).to(device)
    levels = grey(side).to(device)
    dequantise = dequantiser(levels)

    def loss(batch: Tensor) -> Tensor:
        return -log_prob(flow, dequantise(batch)).mean()

    fit(flow, loss, levels, steps=1200, seconds=seconds, title=f"{library}, {side}x{side}")
    return flow.eval()


def programs(library: str, side: int, seconds: float, device: str = "cpu") -> tuple[Sampler, Inverter, Tensor]:
    """Sampler and inverter of a trained flow, for a batch of 64, and base samples z to invert: (64, D)."""
    _, _, sampler, inverter = LIBRARIES[library]
    flow = trained(library, side, seconds, device)
    return sampler(flow, 64), inverter(flow), torch.randn(64, side * side).to(device)


def zuko_factory(seconds: float = 10.0) -> tuple[Inverter, tuple[Tensor]]:
    """For the command line: fxsolve report examples/flow_sampling.py:zuko_factory."""
    _, invert, z = programs("zuko", 8, seconds)
    return invert, (z,)


def nflows_factory(seconds: float = 10.0) -> tuple[Inverter, tuple[Tensor]]:
    """For the command line: fxsolve report examples/flow_sampling.py:nflows_factory."""
    _, invert, z = programs("nflows", 8, seconds)
    return invert, (z,)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train-seconds", type=float, default=60.0, help="at most this long for each flow")
    parser.add_argument("--side", type=int, default=8, help="image side: 8 is D=64, 16 is D=256")
    options = parser.parse_args(argv)

    torch.set_num_threads(1)
    for library in LIBRARIES:
        sample, invert, z = programs(library, options.side, options.train_seconds)
        compare(f"{library}: sample", sample)
        compare(f"{library}: invert", invert, (z,))


if __name__ == "__main__":
    main()
