"""Many layers, and what has no loop at all."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_programs.member import Factory, Member


class Residual(nn.Module):
    def __init__(self, depth: int = 64, width: int = 32) -> None:
        super().__init__()
        blocks = (nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth))
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


class Shared(nn.Module):
    """One transformer layer, twelve times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(32, 2, 64, batch_first=True, dropout=0.0).eval()

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(12):
            x = self.layer(x)
        return x


class Highway(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(32, 64) for _ in range(48))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            h, gate = layer(x).chunk(2, -1)
            gate = torch.sigmoid(gate)
            x = gate * F.relu(h) + (1 - gate) * x
        return x


class Messages(nn.Module):
    """Sixteen rounds of messages in a graph, each with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.send = nn.ModuleList(nn.Linear(16, 16) for _ in range(16))
        self.cell = nn.GRUCell(16, 16)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        for send in self.send:
            sent = send(x)[edges[0]]
            x = self.cell(torch.zeros_like(x).index_add_(0, edges[1], sent), x)
        return x


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(8 + 4 * k, 4, 3, padding=1) for k in range(16))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, F.relu(layer(x))], 1)
        return x


class Cnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Large(nn.Module):
    """Steps that fill the machine: nothing to gain."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(256, 384)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape[1], 384)
        for x_t in x:
            h = self.cell(x_t, h)
        return h


def collatz(n: Tensor) -> Tensor:
    """A branch that is another one at each call."""
    count = torch.zeros((), dtype=torch.long)
    while n.item() != 1:
        n = n // 2 if n.item() % 2 == 0 else 3 * n + 1
        count = count + 1
    return count


def few_steps(x: Tensor) -> Tensor:
    for _ in range(4):
        x = torch.tanh(x @ x.T) @ x / x.shape[0]
    return x


PROGRAMS: dict[str, Factory] = {
    "residual MLP": lambda: Member(Residual(), (torch.randn(4, 32),)),
    "residual MLP, training": lambda: Member(Residual(), (torch.randn(4, 32),), True),
    "one transformer layer, shared": lambda: Member(Shared(), (torch.randn(2, 16, 32),)),
    "highway network": lambda: Member(Highway(), (torch.randn(8, 32),)),
    "highway network, training": lambda: Member(Highway(), (torch.randn(8, 32),), True),
    "messages in a graph": lambda: Member(Messages(), (torch.randn(40, 16), torch.randint(0, 40, (2, 160)))),
    "DenseNet": lambda: Member(Dense().eval(), (torch.randn(2, 8, 12, 12),), sequential=False),
    "CNN": lambda: Member(Cnn().eval(), (torch.randn(4, 3, 24, 24),), sequential=False),
    "CNN, training": lambda: Member(Cnn(), (torch.randn(4, 3, 24, 24),), True, sequential=False),
    "GRU of large steps": lambda: Member(Large(), (torch.randn(20, 64, 256),), sequential=False),
    "one linear layer": lambda: Member(nn.Linear(64, 64), (torch.randn(32, 64),), sequential=False),
    "Collatz": lambda: Member(collatz, (torch.tensor(27),), sequential=False),
    "four steps": lambda: Member(few_steps, (torch.randn(64, 64),), sequential=False),
}
