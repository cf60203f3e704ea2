"""Programs so small that what a pass does to one of them can be read."""

from typing import Any

import torch
from torch import Tensor, nn

T, N = 5, 3


def numbers(*shape: int) -> Tensor:
    return torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape)


def loop(x: Tensor) -> Any:
    h, states = torch.zeros(N), []
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
        states.append(h)
    return torch.stack(states)


def conjugated(x: Tensor) -> Any:
    return torch.view_as_real(x.conj().resolve_conj())


def read_by_strides(x: Tensor) -> Any:
    return torch.tanh(x).t().as_strided((N, N), (1, N))


def set_where_it_is_low(x: Tensor) -> Any:
    x = x.clone()
    x[x < 0.5] = 0.5
    return x


def chosen_by_bytes(x: Tensor) -> Any:
    return torch.where((x < 0.5).byte(), 0.5, x)


_ATTENTION = nn.MultiheadAttention(4, 2, batch_first=True).eval()


def attended_while_it_grows(x: Tensor) -> Any:
    for _ in range(2):
        x = torch.cat([x, _ATTENTION(x, x, x, need_weights=False)[0][:, -1:]], 1)
    return x


def written_while_read(x: Tensor) -> Any:
    x, h = x.clone(), x.new_zeros(N)
    for row in x:
        row += h
        h = torch.sin(row)
    return x


def grown_and_read_at_its_end(x: Tensor) -> Any:
    sequence = x[:1]
    for _ in range(T):
        sequence = torch.cat([sequence, torch.tanh(sequence[-1:] * 0.5)])
    return sequence


def grown_and_read_whole(x: Tensor) -> Any:
    sequence = x[:1]
    for _ in range(T):
        weights = torch.softmax(sequence @ sequence[-1], 0)
        sequence = torch.cat([sequence, torch.tanh(weights @ sequence)[None]])
    return sequence


def a_list_joined_at_every_step(x: Tensor) -> Any:
    states = [x[0]]
    for _ in range(T):
        states.append(torch.tanh(torch.stack(states).sum(0)))
    return states[-1]


def layers_over_time(x: Tensor) -> Any:
    for scale in (0.2, 0.4, 0.6, 0.8):
        h, states = torch.zeros(N), []
        for x_t in x:
            h = torch.tanh(h * scale + x_t)
            states.append(h)
        x = torch.stack(states)
    return x


def one_loop_for_all_steps(x: Tensor) -> Any:
    h, states = torch.zeros(N), []
    for _ in range(4):
        g, inner = torch.zeros(N), []
        for x_t in x:
            g = torch.tanh(g * 0.5 + x_t)
            inner.append(g)
        h = torch.sin(h + torch.stack(inner).sum(0))
        states.append(h)
    return torch.stack(states)


def overwritten_whole(x: Tensor) -> Any:
    h, kept = torch.zeros(N), torch.zeros(N, dtype=torch.float64)
    for x_t in x:
        kept[:] = torch.tanh(h + x_t)
        h = kept.float() * 2
    return h


def pixels(x: Tensor) -> Any:
    y = torch.zeros(N, 3, 3)
    for i in range(3):
        for j in range(3):
            y[:, i, j] = torch.tanh(x[:, i, j] + y[:, i, j - 1])
    return y


def steps_of_an_input(x: Tensor) -> Any:
    h = torch.zeros(N)
    for t in range(T):
        h = torch.tanh(h + x[t])
    return h


def filled_and_read_whole(x: Tensor) -> Any:
    y = torch.zeros(T, N)
    for t in range(T):
        y[t] = torch.tanh(x[t] + y.sum(0))
    return y


def copied_and_filled(x: Tensor) -> Any:
    y = torch.zeros(T, N)
    for t in range(T):
        y = y.clone()
        y[t] = torch.tanh(x[t] + y.sum(0))
    return y


def filled_where_it_is_the_step(x: Tensor) -> Any:
    y = torch.zeros(T, N)
    for t in range(T):
        y = torch.where(torch.arange(T)[:, None] == t, torch.tanh(x[t] + y.sum(0)), y)
    return y


def filled_by_joining(x: Tensor) -> Any:
    y = torch.zeros(T, N)
    for t in range(T):
        y = torch.cat([y[:t], torch.tanh(x[t : t + 1] + y.sum(0)), y[t + 1 :]])
    return y


def added_and_written(x: Tensor) -> Any:
    y = x[:1]
    for t in range(T):
        y = torch.cat([y, torch.zeros(1, N)])
        y[-1] = torch.tanh(x[t] + y.sum(0))
    return y


def written_to_be_read(x: Tensor) -> Any:
    h = x[0]
    for _ in range(T):
        entry = torch.tanh(x * h)[-1]
        entry[entry < 0] = 0.5
        h = torch.sin(entry)
    return h


def filled_and_read_by_rows(x: Tensor) -> Any:
    y = torch.zeros(T + 1, N)
    for t in range(T):
        y[t + 1] = torch.tanh(x[t] + y[t])
    return y


def two_steps_back(x: Tensor) -> Any:
    a, b = torch.zeros(N), torch.ones(N)
    for x_t in x:
        a, b = b, torch.tanh(a * 0.5 + b + x_t)
    return b


def added_to_its_own_rows(x: Tensor) -> Any:
    x = x.clone()
    for t in range(1, 3):
        x[t] += x[t - 1]
    return x


def added_to_rows_of_a_view(x: Tensor) -> Any:
    x = x.exp().view(T, 1, N)
    for t in range(1, 3):
        x[t] += x[t - 1]
    return x


def rows_added_up(x: Tensor) -> Any:
    total = torch.zeros(T, N)
    for t in range(3):
        row = torch.zeros(T, N)
        row[t] = x[t].exp()
        total = total + row
    return total


WEIGHT, MASK = numbers(N, N), torch.ones(N, N).tril()


def masked_at_every_step(x: Tensor) -> Any:
    h, weight = torch.zeros(N), WEIGHT
    for x_t in x:
        weight = weight * MASK
        h = torch.tanh(weight @ h + x_t)
    return h


def an_output_that_is_not_wanted(x: Tensor) -> Any:
    h, total = torch.zeros(N), torch.zeros(N)
    for x_t in x:
        h = torch.tanh(h + x_t)
        total = torch.sin(total * h)
    return h


def the_same_at_every_step(x: Tensor, w: Tensor) -> Any:
    h = torch.zeros(N)
    for x_t in x:
        h = torch.tanh(h @ torch.exp(w).t() + x_t)
    return h


def with_a_sum(x: Tensor) -> Any:
    h, total = torch.zeros(N), torch.zeros(N)
    for x_t in x:
        h = torch.tanh(h + x_t)
        total = total + h * x_t
    return total


def with_inputs_and_outputs(x: Tensor) -> Any:
    h, outputs = torch.zeros(N), []
    for x_t in x:
        h = torch.tanh(h + torch.exp(x_t).sin())
        outputs.append(torch.cos(h).exp())
    return torch.stack(outputs)


def trained(x: Tensor, w: Tensor) -> Any:
    h, states = torch.zeros(1, N), []
    for x_t in x:
        h = torch.tanh(h @ w + x_t)
        states.append(h)
    return torch.stack(states), h.exp()


def batches_of_products(x: Tensor, weight: Tensor) -> Tensor:
    """Whose products look at their factors in ways that show them as they are."""
    for _ in range(T):
        x = torch.tanh(weight @ x.mT.mT @ weight)
    return x
