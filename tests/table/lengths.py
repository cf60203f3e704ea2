"""Rows: one program at several lengths; from the third on, and where a size is declared, nothing is recorded."""

import torch
from torch import Tensor

from tests.table.row import B, N, numbers, row, rows_of

LENGTHS = {1: 6, 2: 9, 3: 14, 4: 33}


def growing(k: int) -> tuple[Tensor]:
    return (numbers(k, LENGTHS[k], B, N),)


THIRD = {"calls": (1, 2, 3, 3, 4, 4), "recordings": 4, "note": "not recorded"}
ONE = {**THIRD, "runs": (33,)}


@row(growing, "6: lag 1, slices", **ONE)
def any_length_list_and_stack(x: Tensor):
    h, states = torch.zeros_like(x[0]), []
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
        states.append(h)
    return torch.stack(states)


@row(growing, "6: lag 1, slices", **ONE)
def any_length_backwards(x: Tensor):
    h, states = torch.zeros_like(x[0]), []
    for t in range(x.shape[0] - 1, -1, -1):
        h = torch.tanh(h * 0.5 + x[t])
        states.append(h)
    return torch.stack(states[::-1], 1)


@row(growing, "6: lag 1, slices", **ONE)
def any_length_buffer(x: Tensor):
    h, y = torch.zeros_like(x[0]), torch.empty_like(x)
    for t in range(len(x)):
        h = torch.tanh(h * 0.5 + x[t])
        y[t] = h
    return y


@row(growing, "6: lag 1, slices, stacked", draws=6, **ONE)
def any_length_random(x: Tensor):
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t + torch.randn_like(h))
    return h


@row(lambda k: (numbers(k, B, N), LENGTHS[k]), "6: lag 1", **ONE)
def any_length_by_an_integer(x: Tensor, steps: int):
    for _ in range(steps):
        x = torch.sin(x) + 1
    return x


@row(growing, "6: lag 1, slices, table", **ONE)
def any_length_time_as_a_number(x: Tensor):
    h = torch.zeros_like(x[0])
    for t in range(len(x)):
        h = torch.tanh(h * 0.5 + x[t] + 0.1 * t)
    return h


@row(
    lambda k: (numbers(k, {1: 200, 2: 150, 3: 1}[k], B, N),),
    "200: lag 1, slices",
    calls=(1, 2, 2),
    recordings=2,
    runs=(150,),
    note="checked against one run of the program",
    options={"dynamic_shapes": {"x": {0: "time"}}},
)
def declared_length(x: Tensor):
    h, states = torch.zeros_like(x[0]), []
    for x_t in x:
        h = torch.tanh(h * 0.5 + x_t)
        states.append(h)
    return torch.stack(states)


@row(lambda k: (numbers(k, LENGTHS[k], B, N),), "6: lag 1, slices", calls=(1, 2, 3, 3), recordings=3, runs=(14,))
def another_program_at_the_third_length(x: Tensor):
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h * (0.25 if len(x) > 12 else 0.5) + x_t)
    return h


ROWS = rows_of(globals())
