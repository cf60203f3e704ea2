"""Loops that learn: unrolled optimizers, fixed points, returns, clusters."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_programs.member import Factory, Member

T = 100


class Maml(nn.Module):
    """Inner steps of gradient descent on a small regression, differentiated through."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(1, 24), nn.Linear(24, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        weights = [self.a.weight, self.a.bias, self.b.weight, self.b.bias]

        def loss() -> Tensor:
            hidden = torch.tanh(F.linear(x, weights[0], weights[1]))
            return F.mse_loss(F.linear(hidden, weights[2], weights[3]), y)

        for _ in range(20):
            gradients = torch.autograd.grad(loss(), weights, create_graph=True)
            weights = [w - 0.1 * g for w, g in zip(weights, gradients, strict=True)]
        return loss()


def momentum(A: Tensor, b: Tensor, rates: Tensor) -> Tensor:
    """Heavy ball on a quadratic, rates learned."""
    x = v = torch.zeros_like(b)
    total = torch.zeros(())
    for rate in rates:
        v = 0.9 * v - torch.sigmoid(rate) * 0.1 * (A @ x - b)
        x = x + v
        total = total + (A @ x - b).square().mean()
    return total


def adam(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Logistic regression by Adam, with its gradient written out."""
    m = v = torch.zeros_like(w)
    for t in range(1, 121):
        g = x.T @ (torch.sigmoid(x @ w) - y) / len(x)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - 0.05 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
    return w


class Lista(nn.Module):
    """Layers that learn to find sparse codes."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.S = nn.Linear(24, 48, bias=False), nn.Linear(48, 48, bias=False)
        self.thresholds = nn.Parameter(torch.full((40,), 0.05))

    def forward(self, y: Tensor) -> Tensor:
        u = self.W(y)
        z = torch.zeros_like(u)
        for threshold in self.thresholds:
            moved = u + self.S(z)
            z = torch.sign(moved) * F.relu(torch.abs(moved) - threshold)
        return z


def ista(A: Tensor, y: Tensor) -> Tensor:
    x = torch.zeros(A.shape[1])
    step = 1 / torch.linalg.matrix_norm(A, 2) ** 2
    for _ in range(150):
        x = F.softshrink(x - step * (A.T @ (A @ x - y)), 0.01)
    return x


class Equilibrium(nn.Module):
    """A layer that is applied until its value is a fixed point."""

    def __init__(self) -> None:
        super().__init__()
        self.W, self.U = nn.Linear(32, 32), nn.Linear(16, 32)
        self.W.weight.data *= 0.5

    def forward(self, x: Tensor) -> Tensor:
        z = torch.zeros(len(x), 32)
        for _ in range(80):
            z = torch.tanh(self.W(z) + self.U(x))
        return z


def hopfield(patterns: Tensor, x: Tensor) -> Tensor:
    for _ in range(40):
        x = torch.softmax(4 * x @ patterns.T, -1) @ patterns
    return x


def k_means(x: Tensor) -> Tensor:
    centers = x[:6]
    for _ in range(30):
        nearest = torch.cdist(x, centers).argmin(1)
        member = F.one_hot(nearest, 6).float()
        centers = (member.T @ x) / member.sum(0).clamp(min=1)[:, None]
    return centers


def mixture(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Expectation and maximization of four Gaussians on a line."""
    mean, spread, weight = torch.linspace(-2, 2, 4), torch.ones(4), torch.full((4,), 0.25)
    for _ in range(60):
        log_p = torch.log(weight) - torch.log(spread) - 0.5 * ((x[:, None] - mean) / spread) ** 2
        r = torch.softmax(log_p, 1)
        total = r.sum(0)
        mean = (r * x[:, None]).sum(0) / total
        spread = ((r * (x[:, None] - mean) ** 2).sum(0) / total + 1e-4).sqrt()
        weight = total / len(x)
    return mean, spread, weight


def advantages(reward: Tensor, value: Tensor, done: Tensor) -> Tensor:
    """Generalized advantages, from the last step to the first."""
    found, last = torch.zeros_like(reward), torch.zeros_like(reward[0])
    for t in reversed(range(len(reward))):
        alive = 1 - done[t]
        error = reward[t] + 0.99 * value[t + 1] * alive - value[t]
        found[t] = last = error + 0.99 * 0.95 * alive * last
    return found


def v_trace(ratio: Tensor, reward: Tensor, value: Tensor) -> Tensor:
    targets, carried = [], torch.zeros_like(reward[0])
    rho, c = ratio.clamp(max=1.0), ratio.clamp(max=1.0) * 0.95
    for t in range(len(reward) - 1, -1, -1):
        delta = rho[t] * (reward[t] + 0.99 * value[t + 1] - value[t])
        carried = delta + 0.99 * c[t] * carried
        targets.insert(0, value[t] + carried)
    return torch.stack(targets)


class Policy(nn.Module):
    """A pendulum and the network that swings it, trained through the simulation."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 32), nn.Tanh(), nn.Linear(32, 1), nn.Tanh())

    def forward(self, angle: Tensor) -> Tensor:
        speed, cost = torch.zeros_like(angle), torch.zeros(())
        for _ in range(100):
            u = 2 * self.net(torch.stack([angle.cos(), angle.sin(), speed], -1)).squeeze(-1)
            cost = cost + (angle**2 + 0.1 * speed**2 + 0.001 * u**2).mean()
            speed = (speed + 0.05 * (15 * angle.sin() + 3 * u)).clamp(-8, 8)
            angle = angle + 0.05 * speed
        return cost


PROGRAMS: dict[str, Factory] = {
    "MAML, training": lambda: Member(Maml(), (torch.randn(16, 1), torch.randn(16, 1)), True),
    "learned rates, training": lambda: Member(
        momentum, (torch.eye(16) * torch.rand(16), torch.randn(16), torch.zeros(100, requires_grad=True)), True
    ),
    "Adam by hand": lambda: Member(adam, (torch.zeros(8), torch.randn(64, 8), torch.rand(64).round())),
    "LISTA": lambda: Member(Lista(), (torch.randn(8, 24),)),
    "LISTA, training": lambda: Member(Lista(), (torch.randn(8, 24),), True),
    "ISTA": lambda: Member(ista, (torch.randn(24, 48) / 5, torch.randn(24))),
    "equilibrium": lambda: Member(Equilibrium(), (torch.randn(8, 16),)),
    "equilibrium, training": lambda: Member(Equilibrium(), (torch.randn(8, 16),), True),
    "Hopfield network": lambda: Member(hopfield, (torch.randn(16, 32), torch.randn(8, 32))),
    "k-means": lambda: Member(k_means, (torch.randn(256, 2),)),
    "mixture of Gaussians": lambda: Member(mixture, (torch.randn(256),)),
    "advantages": lambda: Member(
        advantages, (torch.randn(200, 16), torch.randn(201, 16), torch.bernoulli(torch.full((200, 16), 0.05)))
    ),
    "V-trace": lambda: Member(v_trace, (torch.rand(T, 16) * 2, torch.randn(T, 16), torch.randn(T + 1, 16))),
    "policy through a simulation, training": lambda: Member(Policy(), (torch.randn(32),), True),
}
