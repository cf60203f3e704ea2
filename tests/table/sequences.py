"""Rows: loops over time, with lists, buffers, strides, lags, and steps that differ."""

import torch
from torch import Tensor

from tests.table.row import SEQUENCE, VECTOR, WEIGHTED, B, N, T, numbers, row, rows_of


def start(x: Tensor) -> Tensor:
    return x.new_zeros(B, N)


@row(WEIGHTED, "6: invariant, lag 1, slices")
def list_and_stack(x: Tensor, w: Tensor):
    h, states = start(x), []
    for t in range(T):
        h = torch.tanh(h @ w + x[t])
        states.append(h)
    return torch.stack(states), h


@row(WEIGHTED, "6: invariant, lag 1, slices")
def list_over_unbind(x: Tensor, w: Tensor):
    h, states = start(x), []
    for x_t in x.unbind(0):
        h = torch.tanh(h @ w + x_t)
        states += [h]
    return states


@row(SEQUENCE, "6: lag 1, slices")
def backwards(x: Tensor):
    h, states = start(x), []
    for t in range(T - 1, -1, -1):
        h = torch.tanh(h + x[t])
        states.append(h)
    return torch.stack(states[::-1])


@row(SEQUENCE, "6: lag 1, slices", "6: lag 1, slices")
def both_directions(x: Tensor):
    h, forward = start(x), []
    for t in range(T):
        h = torch.tanh(h + x[t])
        forward.append(h)
    h, backward = start(x), []
    for t in reversed(range(T)):
        h = torch.sin(h - x[t])
        backward.insert(0, h)
    return torch.cat([torch.stack(forward), torch.stack(backward)], -1)


@row(SEQUENCE, "6: lag 1, slices")
def strides_in_stack_and_cat(x: Tensor):
    h, states = start(x), []
    for t in range(T):
        h = torch.tanh(h + x[t])
        states.append(h)
    return torch.stack(states[::2], 1), torch.cat(states[1::3], -1), torch.stack(states[::-2], -1)


@row(SEQUENCE, "3: slices", "3: lag 1, slices")
def every_second_entry(x: Tensor):
    h = start(x)
    for t in range(0, T, 2):
        h = torch.tanh(h + x[t] * x[t + 1])
    return h


@row(SEQUENCE, "6: lag 1, slices")
def permuted_entries(x: Tensor):
    h = start(x)
    for t in (3, 0, 5, 1, 4, 2):
        h = torch.tanh(h + x[t])
    return h


@row(SEQUENCE, "6: lag 1, slices", "9: invariant, lag 1", "4: invariant, lag 1, slices")
def several_loops(x: Tensor):
    h = start(x)
    for t in range(T):
        h = torch.tanh(h + x[t])
    middle = h * 2
    for _ in range(T + 3):
        h = torch.cos(h * 0.5 + middle)
    for t in range(T - 2):
        h = torch.sigmoid(h * x[t] - middle)
    return h, middle


@row(SEQUENCE, "6: lag 1, slices")
def two_steps_back(x: Tensor):
    g, h, states = start(x), x[0], []
    for t in range(T):
        g, h = h, torch.tanh(0.5 * h - 0.3 * g + x[t])
        states.append(h)
    return torch.stack(states)


@row(SEQUENCE, "6: lag 3, slices")
def three_steps_back(x: Tensor):
    states = [x[0], x[1], x[2]]
    for t in range(T):
        states.append(torch.tanh(states[t] * 0.5 + x[t]))
    return torch.stack(states)


@row(SEQUENCE, "5: lag 1, slices")
def first_step_differs(x: Tensor):
    h, states = x[0], []
    for t in range(T):
        h = torch.sin(x[t]) if t == 0 else torch.tanh(h * 0.5 + x[t])
        states.append(h)
    return torch.stack(states)


@row(SEQUENCE, "6: lag 1, slices")
def last_step_differs(x: Tensor):
    h, states = start(x), []
    for t in range(T):
        h = torch.tanh(h * 0.5 + x[t])
        if t == T - 1:
            h = torch.sigmoid(h)
        states.append(h)
    return torch.stack(states)


@row(SEQUENCE, "6: slices, table", "6: lag 1, slices, table")
def time_as_a_number(x: Tensor):
    h = start(x)
    for t in range(T):
        h = torch.sin(h * t) + x[t] * (0.1 * t)
    return h


@row(VECTOR, "6: invariant, lag 1")
def fixed_point(x: Tensor):
    y = torch.zeros_like(x)
    for _ in range(T):
        y = torch.cos(y * 0.5 + x)
    return y


def _scaled(k: int) -> tuple[Tensor, ...]:
    return numbers(k, N, dtype=torch.float32), numbers(k, dtype=torch.float32), torch.arange(N)


@row(_scaled, "6: invariant, table", "6: lag 1, slices", schedule="jacobi", tolerance=1e-5)
def numbers_beside_one_entry_and_integers(x: Tensor, scale: Tensor, counts: Tensor):
    h = torch.zeros_like(x)
    for t in range(T):
        h = torch.sin(h * 0.5 + x * (scale * (0.1 * t * t)) + (counts + 0.1 * t * t))
    return h


@row(SEQUENCE, "6: lag 1, slices", schedule="jacobi", tolerance=1e-12)
def swept_by_jacobi(x: Tensor):
    h, states = start(x), []
    for t in range(T):
        h = torch.tanh(h * 0.5 + x[t])
        states.append(h)
    return torch.stack(states)


@row(
    lambda k: (numbers(k, T, B, N), numbers(k + 20, B, N)),
    "6: lag 1, slices",
    calls=(1, 2, 3),
    feed=lambda result, args: (args[0], result[1]),
)
def state_returned_and_passed_back(x: Tensor, h: Tensor):
    states = []
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
        states.append(h)
    return torch.stack(states), h


@row(SEQUENCE, "4: slices, stacked")
def irregular_reads(x: Tensor):
    states = [x[0]]
    for t in range(1, T):
        states.append(torch.tanh(states[(t * t) % 5 % t] * 0.5 + x[t]))
    return torch.stack(states)


ROWS = rows_of(globals())
