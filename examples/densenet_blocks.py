"""A DenseNet-201 as 103 equations, its layers swept all at once (Song et al. 2021, section 5.3), and what that costs.

The network has the layers, widths and names of timm's and torchvision's densenet201. There are no trained weights here:
they are drawn, and the running statistics are those of random images, so that every layer sees standardised features,
as in a trained network.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.ir.spec import Block
from fxsolve.plan.auto import example_values
from fxsolve.plan.lower_blocks import swept_blocks
from fxsolve.solvers.stop import Stop

from comparing import difference, timed

CONFIG = (6, 12, 48, 32)
GROWTH, WIDTH, FACTOR = 32, 64, 4


class DenseLayer(nn.Module):
    """Normalise, 1x1, normalise, 3x3 of all features so far."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, FACTOR * GROWTH, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(FACTOR * GROWTH)
        self.conv2 = nn.Conv2d(FACTOR * GROWTH, GROWTH, 3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        narrow = self.conv1(torch.relu(self.norm1(torch.cat(features, 1))))
        return self.conv2(torch.relu(self.norm2(narrow)))


class DenseBlock(nn.ModuleDict):
    """Layers that each read the features of all before them."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        for k in range(layers):
            self.add_module(f"denselayer{k + 1}", DenseLayer(width + k * GROWTH))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


def transition(width: int) -> nn.Sequential:
    """Half the channels, and half the size."""
    layers = nn.Sequential()
    layers.add_module("norm", nn.BatchNorm2d(width))
    layers.add_module("relu", nn.ReLU())
    layers.add_module("conv", nn.Conv2d(width, width // 2, 1, bias=False))
    layers.add_module("pool", nn.AvgPool2d(2, 2))
    return layers


class DenseNet(nn.Module):
    """Huang et al. 2017: four dense blocks of `config` layers, 1,000 logits."""

    def __init__(self, config: tuple[int, ...] = CONFIG) -> None:
        super().__init__()
        self.features, width = nn.Sequential(), WIDTH
        self.features.add_module("conv0", nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(width))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        for k, layers in enumerate(config):
            self.features.add_module(f"denseblock{k + 1}", DenseBlock(layers, width))
            width += layers * GROWTH
            if k + 1 < len(config):
                self.features.add_module(f"transition{k + 1}", transition(width))
                width //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(width))
        self.classifier = nn.Linear(width, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.relu(self.features(x)).mean((2, 3)))


def standardised(config: tuple[int, ...] = CONFIG, side: int = 224) -> DenseNet:
    """A network in evaluation mode whose normalisations standardise the features of random images."""
    torch.manual_seed(0)
    model = DenseNet(config)
    for norm in (part for part in model.modules() if isinstance(part, nn.BatchNorm2d)):
        norm.momentum = 1.0  # the statistics of the last batch
    with torch.no_grad():
        model(torch.randn(4, 3, side, side))
    return model.eval()


def logits_after_each_sweep(model: nn.Module, x: Tensor) -> Iterator[Tensor]:
    """The logits after 1, 2, ... sweeps of all equations from zeros, until every value is exact."""
    program = fxsolve.capture(model, x)
    equations = fxsolve.partition(program).system.equations
    swept = swept_blocks([[equation] for equation in equations if isinstance(equation, Block)], Stop())
    known = example_values(program)
    values = swept.blocks.start(tuple(known[name] for name in swept.given))
    for level in range(1, max(swept.blocks.levels) + 1):
        values = swept.blocks.sweep(values, level)
        yield values[-1]


def sweeps_until(logits: Sequence[Tensor], holds: Callable[[Tensor], bool]) -> tuple[int, int]:
    """After how many sweeps something holds first, and from which on it holds for good."""
    found = [holds(one) for one in logits]
    return found.index(True) + 1, len(found) - found[::-1].index(False) + 1 if False in found else 1


def same_five(exact: Tensor) -> Callable[[Tensor], bool]:
    """Whether the five largest logits are the right ones, in order."""
    five = exact.topk(5).indices
    return lambda logits: torch.equal(logits.topk(5).indices, five)


def close(exact: Tensor) -> Callable[[Tensor], bool]:
    """Whether all logits are right to 1e-4."""
    return lambda logits: bool((logits - exact).abs().max() <= 1e-4)


def factory() -> tuple[nn.Module, tuple[Tensor]]:
    """For the command line: fxsolve graph examples/densenet_blocks.py:factory -o densenet.svg."""
    return standardised(), (torch.randn(1, 3, 224, 224),)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=CONFIG, help="layers of each dense block")
    parser.add_argument("--side", type=int, default=224, help="height and width of the image")
    options = parser.parse_args(argv)

    torch.set_num_threads(1)
    model = standardised(tuple(options.layers), options.side)
    x = torch.randn(1, 3, options.side, options.side)
    exact, seconds = timed(model, (x,))
    with torch.no_grad():
        logits = list(logits_after_each_sweep(model, x))
        fast = fxsolve.compile(model, (x,), schedule="jacobi", backend="eager")
        found, swept = timed(fast, (x,))
    print(fast.report())
    first, stays = sweeps_until(logits, same_five(exact))
    print(f"equations, all swept at once: {len(logits)} deep")
    print(f"five largest logits right after {first} sweeps, and for good after {stays}")
    print(f"all logits within 1e-4 after {sweeps_until(logits, close(exact))[1]} sweeps")
    print(f"as written {seconds * 1e3:.1f} ms; swept on one thread {swept * 1e3:.1f} ms, {difference(exact, found)}")


if __name__ == "__main__":
    main()
