"""Dynamic programs, chains of probabilities, and iterations of linear algebra."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo_programs.member import Factory, Member

T, S = 100, 12


def hmm(start: Tensor, move: Tensor, seen: Tensor) -> Tensor:
    """The log likelihood of (T, B, S) log emissions."""
    alpha = start + seen[0]
    for t in range(1, len(seen)):
        alpha = torch.logsumexp(alpha.unsqueeze(2) + move, 1) + seen[t]
    return torch.logsumexp(alpha, 1).sum()


def viterbi(start: Tensor, move: Tensor, seen: Tensor) -> Tensor:
    score, pointers = start + seen[0], []
    for t in range(1, len(seen)):
        best, where = (score.unsqueeze(2) + move).max(1)
        pointers.append(where)
        score = best + seen[t]
    state = score.argmax(1)
    path = [state]
    for where in reversed(pointers):
        state = where.gather(1, state.unsqueeze(1)).squeeze(1)
        path.append(state)
    return torch.stack(path[::-1])


def crf(move: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
    """The log partition of masked sequences."""
    score = seen[:, 0]
    for t in range(1, seen.shape[1]):
        new = torch.logsumexp(score[:, :, None] + move[None] + seen[:, t, None, :], 1)
        score = torch.where(mask[:, t, None], new, score)
    return torch.logsumexp(score, 1).sum()


def edit_distance(a: Tensor, b: Tensor) -> Tensor:
    """Row by row and column by column, for a batch of words."""
    n = a.shape[1]
    rows = torch.zeros(n + 1, n + 1, a.shape[0])
    rows[:, 0] = torch.arange(n + 1)[:, None]
    rows[0, :] = torch.arange(n + 1)[:, None]
    for i in range(1, n + 1):
        for j in range(1, n + 1):
            change = (a[:, i - 1] != b[:, j - 1]).float()
            least = torch.minimum(rows[i - 1, j], rows[i, j - 1]) + 1
            rows[i, j] = torch.minimum(least, rows[i - 1, j - 1] + change)
    return rows[n, n]


def soft_dtw(x: Tensor, y: Tensor) -> Tensor:
    """A differentiable time warping, rows as lists."""
    D = torch.cdist(x, y)
    n, m = D.shape[1:]
    before = [torch.zeros(len(x)) if j == 0 else torch.full((len(x),), 1e4) for j in range(m + 1)]
    for i in range(n):
        row = [torch.full((len(x),), 1e4)]
        for j in range(m):
            three = torch.stack([before[j], before[j + 1], row[j]])
            row.append(D[:, i, j] - torch.logsumexp(-three, 0))
        before = row
    return before[-1].sum()


def ctc(log_p: Tensor, labels: Tensor) -> Tensor:
    """The forward pass over labels with blanks between: (T, B, C), (B, L)."""
    wide = torch.zeros(len(labels), 2 * labels.shape[1] + 1, dtype=torch.long)
    wide[:, 1::2] = labels
    skip = F.pad((wide[:, 2:] != wide[:, :-2]) & (wide[:, 2:] != 0), (2, 0))
    alpha = torch.full(wide.shape, -1e9)
    alpha[:, :2] = log_p[0].gather(1, wide[:, :2])
    for t in range(1, len(log_p)):
        one, two = F.pad(alpha[:, :-1], (1, 0), value=-1e9), F.pad(alpha[:, :-2], (2, 0), value=-1e9)
        two = torch.where(skip, two, torch.full_like(two, -1e9))
        alpha = torch.logsumexp(torch.stack([alpha, one, two]), 0) + log_p[t].gather(1, wide)
    return -torch.logsumexp(alpha[:, -2:], 1).mean()


def sinkhorn(cost: Tensor) -> Tensor:
    f, g = torch.zeros_like(cost[:, :, 0]), torch.zeros_like(cost[:, 0])
    for _ in range(60):
        f = -0.1 * torch.logsumexp((g[:, None, :] - cost) / 0.1, 2)
        g = -0.1 * torch.logsumexp((f[:, :, None] - cost) / 0.1, 1)
    return torch.exp((f[:, :, None] + g[:, None, :] - cost) / 0.1)


def power_iteration(A: Tensor) -> tuple[Tensor, Tensor]:
    v = torch.ones(A.shape[0])
    for _ in range(150):
        v = A @ v
        v = v / v.norm()
    return v @ A @ v, v


def page_rank(links: Tensor) -> Tensor:
    rank = torch.full((len(links),), 1 / len(links))
    P = links / links.sum(0).clamp(min=1)
    while True:
        new = 0.85 * P @ rank + 0.15 / len(links)
        if (new - rank).abs().sum() < 1e-7:
            return new
        rank = new


def floyd_warshall(weights: Tensor) -> Tensor:
    d = weights.clone()
    for k in range(len(weights)):
        d = torch.minimum(d, d[:, k : k + 1] + d[k : k + 1, :])
    return d


def value_iteration(reward: Tensor, move: Tensor) -> Tensor:
    V = torch.zeros(len(reward))
    for _ in range(120):
        V = (reward + 0.95 * torch.einsum("sat,t->sa", move, V)).max(1).values
    return V


def conjugate_gradients(A: Tensor, b: Tensor) -> Tensor:
    x = torch.zeros_like(b)
    r = p = b
    old = r @ r
    for _ in range(24):
        q = A @ p
        alpha = old / (p @ q)
        x, r = x + alpha * p, r - alpha * q
        new = r @ r
        p, old = r + new / old * p, new
    return x


def thomas(lower: Tensor, middle: Tensor, upper: Tensor, d: Tensor) -> Tensor:
    """Tridiagonal systems by elimination and substitution: (B, n)."""
    n = d.shape[1]
    c, e = [upper[:, 0] / middle[:, 0]], [d[:, 0] / middle[:, 0]]
    for i in range(1, n):
        below = middle[:, i] - lower[:, i] * c[i - 1]
        c.append(upper[:, i] / below)
        e.append((d[:, i] - lower[:, i] * e[i - 1]) / below)
    x = [e[-1]]
    for i in range(n - 2, -1, -1):
        x.append(e[i] - c[i] * x[-1])
    return torch.stack(x[::-1], 1)


def gram_schmidt(A: Tensor) -> Tensor:
    Q = torch.zeros_like(A)
    for k in range(A.shape[1]):
        v = A[:, k] - Q @ (Q.T @ A[:, k])
        Q[:, k] = v / v.norm()
    return Q


def substitution(L: Tensor, b: Tensor) -> Tensor:
    x = torch.zeros_like(b)
    for i in range(len(b)):
        x[i] = (b[i] - L[i, :i] @ x[:i]) / L[i, i]
    return x


def belief(unary: Tensor, pair: Tensor) -> Tensor:
    """Messages to the right along a grid's rows, all rows at once, and back: (rows, columns, states)."""
    right = torch.zeros_like(unary)
    for j in range(1, unary.shape[1]):
        right[:, j] = torch.logsumexp((unary[:, j - 1] + right[:, j - 1])[:, :, None] + pair, 1)
    left = torch.zeros_like(unary)
    for j in range(unary.shape[1] - 2, -1, -1):
        left[:, j] = torch.logsumexp((unary[:, j + 1] + left[:, j + 1])[:, :, None] + pair.T, 1)
    return torch.softmax(unary + left + right, -1)


def _chain() -> tuple[Tensor, ...]:
    return torch.randn(S).log_softmax(0), torch.randn(S, S).log_softmax(1), torch.randn(T, 4, S)


def _leaves(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(x.requires_grad_() for x in tensors)


def _positive(n: int) -> Tensor:
    A = torch.randn(n, n)
    return A @ A.T / n + torch.eye(n)


def _moves() -> Tensor:
    return torch.rand(20, 4, 20).softmax(-1)


PROGRAMS: dict[str, Factory] = {
    "HMM": lambda: Member(hmm, _chain()),
    "HMM, training": lambda: Member(hmm, _leaves(*_chain()), True),
    "Viterbi": lambda: Member(viterbi, _chain()),
    "CRF, training": lambda: Member(
        crf, (*_leaves(torch.randn(S, S), torch.randn(8, T, S)), torch.arange(T) < torch.randint(40, T, (8, 1))), True
    ),
    "edit distance": lambda: Member(edit_distance, (torch.randint(0, 5, (8, 14)), torch.randint(0, 5, (8, 14)))),
    "soft DTW": lambda: Member(soft_dtw, (torch.randn(4, 14, 3), torch.randn(4, 14, 3))),
    "soft DTW, training": lambda: Member(soft_dtw, _leaves(torch.randn(4, 12, 3), torch.randn(4, 12, 3)), True),
    "CTC": lambda: Member(ctc, (torch.randn(T, 4, 10).log_softmax(-1), torch.randint(1, 10, (4, 12)))),
    "CTC, training": lambda: Member(
        ctc, (torch.randn(T, 4, 10).log_softmax(-1).requires_grad_(), torch.randint(1, 10, (4, 12))), True
    ),
    "Sinkhorn": lambda: Member(sinkhorn, (torch.rand(4, 24, 24),)),
    "Sinkhorn, training": lambda: Member(sinkhorn, _leaves(torch.rand(4, 24, 24)), True),
    "power iteration": lambda: Member(power_iteration, (_positive(48),)),
    "PageRank until it stops": lambda: Member(page_rank, (torch.bernoulli(torch.full((64, 64), 0.1)),)),
    "Floyd-Warshall": lambda: Member(floyd_warshall, (torch.rand(48, 48),)),
    "value iteration": lambda: Member(value_iteration, (torch.rand(20, 4), _moves())),
    "conjugate gradients": lambda: Member(conjugate_gradients, (_positive(48), torch.randn(48))),
    "Thomas algorithm": lambda: Member(thomas, tuple(torch.rand(8, T) + k for k in (0, 3, 0, 0))),
    "Gram-Schmidt": lambda: Member(gram_schmidt, (torch.randn(64, 48),)),
    "forward substitution": lambda: Member(substitution, (torch.randn(96, 96) / 10 + torch.eye(96), torch.randn(96))),
    "belief propagation": lambda: Member(belief, (torch.randn(8, 48, 6), torch.randn(6, 6))),
}
