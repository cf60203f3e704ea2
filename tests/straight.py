"""Networks of unequal layers, as people of the field write them, small enough to run in milliseconds."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class DenseLayer(nn.Module):
    """Normalise, 1x1, normalise, 3x3 of all earlier features."""

    def __init__(self, width: int, growth: int, factor: int = 4) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(width), nn.Conv2d(width, factor * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(factor * growth)
        self.conv2 = nn.Conv2d(factor * growth, growth, 3, padding=1, bias=False)

    def forward(self, seen: list[Tensor]) -> Tensor:
        x = self.conv1(torch.relu(self.norm1(torch.cat(seen, 1))))
        return self.conv2(torch.relu(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    """Its layers have names, not numbers, as in torchvision and timm."""

    def __init__(self, layers: int, width: int, growth: int) -> None:
        super().__init__()
        for k in range(layers):
            self.add_module(f"denselayer{k + 1}", DenseLayer(width + k * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for layer in self.values():
            seen.append(layer(seen))
        return torch.cat(seen, 1)


class DenseNet(nn.Module):
    """The wiring and the names of timm's and torchvision's DenseNets."""

    def __init__(self, config: tuple[int, ...], growth: int = 4, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        features = nn.Sequential()
        features.add_module("conv0", nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False))
        features.add_module("norm0", nn.BatchNorm2d(width))
        features.add_module("relu0", nn.ReLU(inplace=True))
        features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        for k, layers in enumerate(config):
            features.add_module(f"denseblock{k + 1}", DenseBlock(layers, width, growth))
            width += layers * growth
            if k + 1 < len(config):
                transition = nn.Sequential()
                transition.add_module("norm", nn.BatchNorm2d(width))
                transition.add_module("relu", nn.ReLU(inplace=True))
                transition.add_module("conv", nn.Conv2d(width, width // 2, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2, 2))
                features.add_module(f"transition{k + 1}", transition)
                width //= 2
        features.add_module("norm5", nn.BatchNorm2d(width))
        self.features, self.classifier = features, nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.relu(self.features(x)).mean((2, 3)))


class Checkpointed(nn.Module):
    """Takes a list, as in torchvision, and computes its first part anew for the backward pass."""

    def __init__(self, width: int, growth: int = 4) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(width, 2 * growth, kernel_size=1, stride=1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(2 * growth), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(2 * growth, growth, kernel_size=3, stride=1, padding=1, bias=False)

    def narrow(self, *inputs: Tensor) -> Tensor:
        return self.conv1(self.relu1(self.norm1(torch.cat(inputs, 1))))

    def forward(self, given: Tensor | list[Tensor]) -> Tensor:
        inputs = [given] if isinstance(given, Tensor) else given
        saves_memory = torch.is_grad_enabled() and any(one.requires_grad for one in inputs)
        made: Any = checkpoint(self.narrow, *inputs, use_reentrant=False) if saves_memory else self.narrow(*inputs)
        return self.conv2(self.relu2(self.norm2(made)))


class Listed(nn.Module):
    """A dense block whose layers take the list of all features before them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        for k in range(5):
            self.add_module(f"denselayer{k + 1}", Checkpointed(6 + 4 * k))

    def forward(self, x: Tensor) -> Tensor:
        features = [self.stem(x)]
        for name, layer in self.named_children():
            if name != "stem":
                features.append(layer(features))
        return torch.cat(features, 1)


def conv(a: int, b: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, kernel, stride, kernel // 2), nn.BatchNorm2d(b), nn.ReLU())


class UNet(nn.Module):
    """Encoder and decoder; each level of the one is joined to that of the other."""

    def __init__(self, levels: int = 3) -> None:
        super().__init__()
        self.first = conv(3, 8)
        self.down = nn.ModuleList(conv(8 * 2**k, 16 * 2**k, stride=2) for k in range(levels))
        self.up = nn.ModuleList(nn.ConvTranspose2d(16 * 2**k, 8 * 2**k, 2, stride=2) for k in range(levels))
        self.join = nn.ModuleList(conv(16 * 2**k, 8 * 2**k) for k in range(levels))
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept = [self.first(x)]
        for one in self.down:
            kept.append(one(kept[-1]))
        x = kept.pop()
        for up, join in zip(reversed(self.up), reversed(self.join), strict=True):
            x = join(torch.cat([up(x), kept.pop()], 1))
        return self.last(x)


class Bottleneck(nn.Module):
    def __init__(self, a: int, b: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = nn.Conv2d(b, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b)
        self.conv3, self.bn3 = nn.Conv2d(b, 4 * b, 1, bias=False), nn.BatchNorm2d(4 * b)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or a != 4 * b:
            self.downsample = nn.Sequential(nn.Conv2d(a, 4 * b, 1, stride, bias=False), nn.BatchNorm2d(4 * b))

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """ResNet-50 in its wiring and names, with few channels."""

    def __init__(self, config: tuple[int, ...] = (3, 4, 6, 3), width: int = 4) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, 1)
        inner, self.stages = width, []
        for k, layers in enumerate(config):
            stage = nn.Sequential()
            for j in range(layers):
                stage.append(Bottleneck(inner, width * 2**k, 2 if j == 0 and k else 1))
                inner = 4 * width * 2**k
            self.add_module(f"layer{k + 1}", stage)
            self.stages.append(f"layer{k + 1}")
        self.fc = nn.Linear(inner, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(x.mean((2, 3)))


class Branches(nn.Module):
    """Paths side by side at several resolutions, which exchange what they have found, as in HRNet."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.stem, self.split = conv(3, width, 2), conv(width, 2 * width, 2)
        self.high = nn.ModuleList(conv(width, width) for _ in range(2))
        self.low = nn.ModuleList(conv(2 * width, 2 * width) for _ in range(2))
        self.to_low, self.to_high = conv(width, 2 * width, 2), conv(2 * width, width, 1, 1)
        self.head = nn.Linear(3 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        high = self.stem(x)
        low = self.split(high)
        for one, other in zip(self.high, self.low, strict=True):
            high, low = one(high), other(low)
        up = nn.functional.interpolate(self.to_high(low), scale_factor=2.0)
        high, low = torch.relu(high + up), torch.relu(low + self.to_low(high))
        return self.head(torch.cat([high.mean((2, 3)), low.mean((2, 3))], 1))


class Fractal(nn.Module):
    """f_k(x) = mean(f_{k-1}(f_{k-1}(x)), conv(x)), as in FractalNet."""

    def __init__(self, depth: int, width: int = 6) -> None:
        super().__init__()
        self.short = nn.Conv2d(width, width, 3, padding=1)
        self.long = nn.ModuleList(Fractal(depth - 1, width) for _ in range(2)) if depth else None

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.short(x))
        return y if self.long is None else (self.long[1](self.long[0](x)) + y) / 2


class Cell(nn.Module):
    """A random cell as architecture search finds them: every node sums two ops of earlier nodes."""

    def __init__(self, nodes: int = 6, width: int = 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        pick = torch.randint(0, 100, (nodes, 2), generator=generator)
        self.sources = [(int(a) % (k + 2), int(b) % (k + 2)) for k, (a, b) in enumerate(pick)]
        self.ops = nn.ModuleList(nn.ModuleList((conv(width, width), conv(width, width, 1, 1))) for _ in range(nodes))

    def forward(self, x: Tensor) -> Tensor:
        seen = [x, x.flip(3)]
        for (a, b), (one, other) in zip(self.sources, self.ops, strict=True):
            seen.append(one(seen[a]) + other(seen[b]))
        return torch.cat(seen[2:], 1)


class Mixed(nn.Module):
    """A dense network of vectors whose layers have other widths."""

    def __init__(self, widths: tuple[int, ...] = (5, 9, 4, 7, 6)) -> None:
        super().__init__()
        ends = [8 + sum(widths[:k]) for k in range(len(widths))]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(ends, widths, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        for one in self.layers:
            x = torch.cat([x, torch.tanh(one(x))], 1)
        return x


class Bare(nn.Module):
    """Weights without modules: as in code that was translated from other frameworks."""

    def __init__(self, layers: int = 5, width: int = 6) -> None:
        super().__init__()
        for k in range(layers):
            self.register_parameter(f"w{k}", nn.Parameter(torch.randn(width * (k + 1), width) / width))
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for k in range(self.layers):
            seen.append(torch.tanh(torch.cat(seen, 1) @ getattr(self, f"w{k}")))
        return seen[-1]


class Named(nn.Module):
    """A function that reads the weights of some modules, by their names."""

    def __init__(self, function: Callable[[Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def _image(channels: int = 3, size: int = 16) -> Tensor:
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(3))


Net = tuple[Callable[[], nn.Module], Tensor]
NETS: dict[str, Net] = {
    "densenet121": (lambda: DenseNet((6, 12, 24, 16)), _image(size=32)),
    "densenet201": (lambda: DenseNet((6, 12, 48, 32)), _image(size=32)),
    "densenet": (lambda: DenseNet((2, 3)), _image()),
    "listed": (Listed, _image()),
    "unet": (UNet, _image()),
    "resnet50": (ResNet, _image(size=32)),
    "branches": (Branches, _image()),
    "fractal": (lambda: Fractal(2), _image(6, 8)),
    "cell": (Cell, _image(6, 8)),
    "mlp": (Mixed, torch.randn(3, 8, generator=torch.Generator().manual_seed(4))),
    "bare": (Bare, torch.randn(3, 6, generator=torch.Generator().manual_seed(4))),
}
SMALL = [name for name in NETS if name not in ("densenet121", "densenet201", "resnet50")]


def network(name: str) -> tuple[Any, Tensor]:
    """A network in evaluation mode, in the default dtype, and an input."""
    make, x = NETS[name]
    return make().eval(), x.to(torch.get_default_dtype())
