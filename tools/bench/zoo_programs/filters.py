"""Filters and estimators over time."""

import torch
from torch import Tensor

from zoo_programs.member import Factory, Member

T = 128


def kalman(z: Tensor) -> tuple[Tensor, Tensor]:
    """Position and velocity in a plane: (T, B, 2) -> means and covariances."""
    F = torch.eye(4) + torch.diag(torch.ones(2), 2)
    H = torch.eye(2, 4)
    Q, R = 0.01 * torch.eye(4), 0.1 * torch.eye(2)
    x, P = z.new_zeros(z.shape[1], 4, 1), torch.eye(4).repeat(z.shape[1], 1, 1)
    means, covariances = [], []
    for t in range(len(z)):
        x, P = F @ x, F @ P @ F.T + Q
        S = H @ P @ H.T + R
        K = P @ H.T @ torch.linalg.inv(S)
        x = x + K @ (z[t, :, :, None] - H @ x)
        P = P - K @ H @ P
        means.append(x.squeeze(-1))
        covariances.append(P)
    return torch.stack(means), torch.stack(covariances)


def biquad(x: Tensor, b: Tensor, a: Tensor) -> Tensor:
    """Direct form 1: (B, T) -> (B, T)."""
    y = torch.zeros_like(x)
    x1 = x2 = y1 = y2 = x.new_zeros(len(x))
    for n in range(x.shape[1]):
        y0 = b[0] * x[:, n] + b[1] * x1 + b[2] * x2 - a[0] * y1 - a[1] * y2
        x1, x2, y1, y2 = x[:, n], x1, y0, y1
        y[:, n] = y0
    return y


def in_place(x: Tensor, a: Tensor) -> Tensor:
    """An all-pole filter of order 3 that reads its own buffer."""
    y = torch.zeros(x.shape[0], x.shape[1] + 3)
    for n in range(x.shape[1]):
        y[:, n + 3] = x[:, n] - (y[:, n : n + 3] * a).sum(1)
    return y[:, 3:]


def particles(z: Tensor) -> Tensor:
    """A bootstrap filter with resampling at every step."""
    x, means = torch.randn(200), []
    for t in range(len(z)):
        x = 0.5 * x + 25 * x / (1 + x**2) + 8 * torch.cos(torch.tensor(1.2 * t)) + torch.randn(200)
        weights = torch.softmax(-0.5 * (z[t] - x**2 / 20) ** 2, 0)
        means.append((weights * x).sum())
        x = x[torch.multinomial(weights, 200, replacement=True)]
    return torch.stack(means)


def holt_winters(y: Tensor, rates: Tensor) -> Tensor:
    """Level, trend and seasons of 7 in a list: (T, B) -> squared error."""
    alpha, beta, gamma = torch.sigmoid(rates)
    level, trend, seasons = y[0], y[1] - y[0], [y[k] - y[0] for k in range(7)]
    total = torch.zeros(())
    for t in range(7, len(y)):
        predicted = level + trend + seasons[t - 7]
        total = total + (y[t] - predicted).square().mean()
        new = alpha * (y[t] - seasons[t - 7]) + (1 - alpha) * (level + trend)
        trend = beta * (new - level) + (1 - beta) * trend
        seasons.append(gamma * (y[t] - new) + (1 - gamma) * seasons[t - 7])
        level = new
    return total


def garch(returns: Tensor, parameters: Tensor) -> Tensor:
    omega, alpha, beta = torch.sigmoid(parameters)
    variance = returns.var(0)
    total = torch.zeros(())
    for r in returns:
        total = total + (torch.log(variance) + r**2 / variance).mean()
        variance = omega + alpha * r**2 + beta * variance
    return 0.5 * total


def least_squares(x: Tensor, y: Tensor) -> Tensor:
    """Recursive least squares with forgetting."""
    P, w = 10 * torch.eye(x.shape[1]), torch.zeros(x.shape[1])
    for x_t, y_t in zip(x, y, strict=True):
        g = P @ x_t / (0.99 + x_t @ P @ x_t)
        w = w + g * (y_t - x_t @ w)
        P = (P - torch.outer(g, x_t @ P)) / 0.99
    return w


def cusum(x: Tensor) -> Tensor:
    high = low = torch.zeros_like(x[0])
    alarms = []
    for x_t in x:
        high, low = torch.clamp(high + x_t - 0.5, min=0), torch.clamp(low - x_t - 0.5, min=0)
        alarms.append((high > 4) | (low > 4))
    return torch.stack(alarms)


def pid(target: Tensor) -> Tensor:
    """A controller and the plant that it moves."""
    x = v = total = before = torch.zeros_like(target[0])
    path = []
    for goal in target:
        error = goal - x
        total = torch.clamp(total + 0.02 * error, -1, 1)
        force = torch.clamp(4 * error + total + 0.5 * (error - before) / 0.02, -5, 5)
        before = error
        v = v + 0.02 * (force - 0.3 * v * v.abs())
        x = x + 0.02 * v
        path.append(x)
    return torch.stack(path)


def _biquad() -> Member:
    return Member(biquad, (torch.randn(8, 512), torch.tensor([0.2, 0.4, 0.2]), torch.tensor([-0.6, 0.3])))


def _leaf(x: Tensor) -> Tensor:
    return x.requires_grad_()


PROGRAMS: dict[str, Factory] = {
    "Kalman filter": lambda: Member(kalman, (torch.randn(T, 4, 2),)),
    "Kalman filter, training": lambda: Member(kalman, (_leaf(torch.randn(T, 4, 2)),), True),
    "biquad": _biquad,
    "all-pole filter in place": lambda: Member(in_place, (torch.randn(8, 256), torch.tensor([0.1, -0.2, 0.5]))),
    "particle filter": lambda: Member(particles, (torch.randn(T) * 5,)),
    "Holt-Winters, training": lambda: Member(holt_winters, (torch.randn(T, 16), _leaf(torch.zeros(3))), True),
    "GARCH, training": lambda: Member(garch, (torch.randn(256, 16), _leaf(torch.tensor([-3.0, -2, 2]))), True),
    "recursive least squares": lambda: Member(least_squares, (torch.randn(T, 8), torch.randn(T))),
    "CUSUM": lambda: Member(cusum, (torch.randn(256, 16),)),
    "PID controller": lambda: Member(pid, (torch.randn(200, 16),)),
}
