"""State spaces, linear attention and other memories that are matrices."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo_programs.member import Factory, Member

B, T, D = 4, 128, 16


class Lru(nn.Module):
    """A complex diagonal recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.log_rate, self.angle = nn.Parameter(torch.rand(D)), nn.Parameter(torch.rand(D))
        self.inner, self.outer = nn.Linear(D, 2 * D), nn.Linear(2 * D, D)

    def forward(self, x: Tensor) -> Tensor:
        rate = torch.exp(torch.complex(-torch.exp(self.log_rate), self.angle))
        u = torch.view_as_complex(self.inner(x).view(*x.shape[:2], D, 2))
        h = torch.zeros_like(u[:, 0])
        states = []
        for t in range(x.shape[1]):
            h = rate * h + u[:, t]
            states.append(h)
        return self.outer(torch.view_as_real(torch.stack(states, 1)).flatten(2))


class Dense(nn.Module):
    """x_t = A x_{t-1} + B u_t, y_t = C x_t, with A a matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.linalg.qr(torch.randn(D, D))[0] * 0.98)
        self.B, self.C = nn.Parameter(torch.randn(D, 2)), nn.Parameter(torch.randn(2, D))

    def forward(self, u: Tensor) -> Tensor:
        x = u.new_zeros(u.shape[0], D)
        ys = []
        for k in range(u.shape[1]):
            x = x @ self.A.T + u[:, k] @ self.B.T
            ys.append(x @ self.C.T)
        return torch.stack(ys, dim=1)


class Selective(nn.Module):
    """The scan of Mamba as its paper writes it: (B, T, D) with a state of 4 for each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.log_a = nn.Parameter(torch.log(torch.arange(1.0, 5)).repeat(D, 1))
        self.step, self.bc, self.skip = nn.Linear(D, D), nn.Linear(D, 8), nn.Parameter(torch.ones(D))

    def forward(self, x: Tensor) -> Tensor:
        delta, a = F.softplus(self.step(x)), -torch.exp(self.log_a)
        b, c = self.bc(x).chunk(2, -1)
        state = x.new_zeros(x.shape[0], D, 4)
        ys = []
        for t in range(x.shape[1]):
            decay = torch.exp(delta[:, t, :, None] * a)
            state = decay * state + delta[:, t, :, None] * b[:, t, None, :] * x[:, t, :, None]
            ys.append((state * c[:, t, None, :]).sum(-1))
        return torch.stack(ys, 1) + self.skip * x


class Wkv(nn.Module):
    """The time mixing of RWKV 4, with the running maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.decay, self.first = nn.Parameter(torch.rand(D)), nn.Parameter(torch.rand(D))
        self.k, self.v = nn.Linear(D, D), nn.Linear(D, D)

    def forward(self, x: Tensor) -> Tensor:
        k, v, w = self.k(x), self.v(x), -torch.exp(self.decay)
        top, bottom = torch.zeros_like(k[:, 0]), torch.zeros_like(k[:, 0])
        most = torch.full_like(top, -1e38)
        out = torch.empty_like(v)
        for t in range(x.size(1)):
            now = torch.maximum(most, self.first + k[:, t])
            a, b = torch.exp(most - now), torch.exp(self.first + k[:, t] - now)
            out[:, t] = (a * top + b * v[:, t]) / (a * bottom + b)
            after = torch.maximum(most + w, k[:, t])
            a, b = torch.exp(most + w - after), torch.exp(k[:, t] - after)
            top, bottom, most = a * top + b * v[:, t], a * bottom + b, after
        return out


def linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k = F.elu(q) + 1, F.elu(k) + 1
    state, total, out = q.new_zeros(B, D, D), q.new_zeros(B, D), []
    for t in range(q.shape[1]):
        state = state + torch.einsum("bd,be->bde", k[:, t], v[:, t])
        total = total + k[:, t]
        below = torch.einsum("bd,bd->b", q[:, t], total)
        out.append(torch.einsum("bd,bde->be", q[:, t], state) / below[:, None])
    return torch.stack(out, 1)


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Tensor:
    k = F.normalize(k, dim=-1)
    state, out = q.new_zeros(B, D, D), []
    for t in range(q.shape[1]):
        old = (state @ k[:, t, :, None]).squeeze(-1)
        state = state + (torch.sigmoid(beta[:, t]) * (v[:, t] - old))[:, :, None] * k[:, t, None, :]
        out.append((state @ q[:, t, :, None]).squeeze(-1))
    return torch.stack(out, 1)


def gated_attention(q: Tensor, k: Tensor, v: Tensor, gates: Tensor) -> Tensor:
    state, out, kept = q.new_zeros(B, D, D), [], torch.sigmoid(gates)
    for q_t, k_t, v_t, g_t in zip(q.unbind(1), k.unbind(1), v.unbind(1), kept.unbind(1), strict=True):
        state = g_t.unsqueeze(-1) * state + k_t.unsqueeze(-1) * v_t.unsqueeze(-2)
        out.append(torch.matmul(q_t.unsqueeze(-2), state).squeeze(-2))
    return torch.stack(out, 1)


class MLstm(nn.Module):
    """The matrix memory of xLSTM."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.gates = nn.Linear(D, 3 * D), nn.Linear(D, 2)

    def forward(self, x: Tensor) -> Tensor:
        memory, norm, most = x.new_zeros(x.shape[0], D, D), x.new_zeros(x.shape[0], D), x.new_zeros(x.shape[0], 1)
        out = []
        for t in range(x.shape[1]):
            q, k, v = self.qkv(x[:, t]).chunk(3, -1)
            i, f = self.gates(x[:, t]).chunk(2, -1)
            f = F.logsigmoid(f)
            new = torch.maximum(f + most, i)
            i, f, most = torch.exp(i - new), torch.exp(f + most - new), new
            k = k / D**0.5
            memory = f[..., None] * memory + i[..., None] * (v[:, :, None] @ k[:, None, :])
            norm = f * norm + i * k
            below = torch.clamp((norm * q).sum(-1, keepdim=True).abs(), min=1.0)
            out.append((memory @ q[:, :, None])[:, :, 0] / below)
        return torch.stack(out, 1)


class TestTime(nn.Module):
    """A memory that is trained on what it reads, by one gradient step for each entry."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__()
        self.k, self.v, self.q = (nn.Linear(D, D, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        W = torch.zeros(x.shape[0], D, D)
        out = []
        for t in range(x.shape[1]):
            k, v, q = self.k(x[:, t]), self.v(x[:, t]), self.q(x[:, t])
            error = torch.tanh(torch.einsum("bij,bj->bi", W, k)) - v
            W = W - 0.1 * torch.einsum("bi,bj->bij", error, k)
            out.append(torch.einsum("bij,bj->bi", W, q))
        return torch.stack(out, 1)


def legendre(signal: Tensor) -> Tensor:
    """The memory of HiPPO, whose matrix changes with the time: (T, B) -> (B, n)."""
    n = torch.arange(12.0)
    root = torch.sqrt(2 * n + 1)
    A = torch.tril(root[:, None] * root[None, :], -1) + torch.diag(n + 1)
    c = signal.new_zeros(signal.shape[1], 12)
    for t in range(len(signal)):
        c = c - (c @ A.T) / (t + 1) + root * signal[t, :, None] / (t + 1)
    return c


def _sequence(*widths: int) -> tuple[Tensor, ...]:
    return tuple(torch.randn(B, T, width) for width in widths)


PROGRAMS: dict[str, Factory] = {
    "LRU, complex": lambda: Member(Lru(), _sequence(D)),
    "LRU, complex, training": lambda: Member(Lru(), _sequence(D), True),
    "state space": lambda: Member(Dense(), _sequence(2)),
    "state space, training": lambda: Member(Dense(), _sequence(2), True),
    "selective scan": lambda: Member(Selective(), _sequence(D)),
    "selective scan, training": lambda: Member(Selective(), _sequence(D), True),
    "RWKV": lambda: Member(Wkv(), _sequence(D)),
    "linear attention": lambda: Member(linear_attention, _sequence(D, D, D)),
    "delta rule": lambda: Member(delta_rule, _sequence(D, D, D, 1)),
    "delta rule, training": lambda: Member(delta_rule, tuple(x.requires_grad_() for x in _sequence(D, D, D, 1)), True),
    "gated linear attention": lambda: Member(gated_attention, _sequence(D, D, D, D)),
    "mLSTM": lambda: Member(MLstm(), _sequence(D)),
    "test-time training": lambda: Member(TestTime(), _sequence(D)),
    "HiPPO": lambda: Member(legendre, (torch.randn(T, B),)),
}
