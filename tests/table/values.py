"""Rows: what may go in and out of a program."""

import dataclasses
from collections import OrderedDict, namedtuple
from typing import Any

import torch
from torch import Tensor, nn

from tests.table.row import SEQUENCE, B, Inputs, N, Row, T, numbers, row, rows_of, tensors

Pair = namedtuple("Pair", ["state", "outputs"])


@dataclasses.dataclass
class Batch:
    x: Tensor
    scale: float
    label: str = "batch"


def loop(x: Tensor, gain: float = 0.5) -> Tensor:
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h * gain + x_t)
    return h


# Types of numbers.


def _typed(dtype: torch.dtype, inputs: Inputs, loops: tuple[str, ...] = ("6: lag 1, slices",)) -> Row:
    return Row(f"dtype_{str(dtype).removeprefix('torch.')}", lambda: loop, inputs, loops)


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128)
TYPED = [_typed(dtype, tensors((T, B, N), dtype=dtype)) for dtype in FLOATS]


def _integers(k: int) -> tuple[Tensor]:
    return (torch.randint(0, 9, (T, B, N), generator=torch.Generator().manual_seed(k)),)


@row(_integers, "6: lag 1, slices")
def dtype_int64(x: Tensor):
    state, states = torch.zeros_like(x[0]), []
    for x_t in x:
        state = (3 * state + x_t) % 7
        states.append(state)
    return torch.stack(states)


@row(lambda k: (_integers(k)[0].to(torch.uint8),), "6: lag 1, slices")
def dtype_uint8(x: Tensor):
    state = torch.zeros_like(x[0])
    for x_t in x:
        state = (state ^ x_t) + 3
    return state


@row(lambda k: (_integers(k)[0] > 4,), "6: lag 1, slices")
def dtype_bool(x: Tensor):
    state = torch.zeros_like(x[0])
    for x_t in x:
        state = state ^ (x_t | ~state)
    return state


@row(SEQUENCE, "6: lag 1, slices", "6: lag 1")
def dtypes_mixed(x: Tensor):
    h, count = torch.zeros(B, N), torch.zeros((), dtype=torch.int32)
    for x_t in x:
        count = count + 1
        h = torch.tanh(h * 0.5 + x_t).float()
    return h, count, h > 0


# Forms.


@row(lambda k: ({"a": numbers(k, T, B, N), "rest": [numbers(k + 9, B, N), (None, {"gain": 0.5})]},), "6: lag 1, slices")
def nested_dicts(given: dict[str, Any]):
    h, gain = given["rest"][0], given["rest"][1][1]["gain"]
    return {"last": loop(given["a"], gain) + h, "more": OrderedDict(h=[h * 2, None], name="result")}


@row(lambda k: (Pair(numbers(k, B, N), numbers(k + 9, T, B, N)),), "6: lag 1, slices")
def named_tuples(given: Pair):
    return Pair(loop(given.outputs) + given.state, [given.outputs * 2])


@row(lambda k: (Batch(numbers(k, T, B, N), 0.5),), "6: lag 1, slices", recordings=2, ran="recorded")
def dataclass_in(batch: Batch):
    return loop(batch.x) * batch.scale


@row(SEQUENCE, ran="original", reason="the program returns a Batch; fxsolve handles tensors, numbers, strings")
def dataclass_out(x: Tensor):
    return Batch(loop(x), 2.0)


@row(lambda k: (None, numbers(k, T, B, N), 3, "double", 0.5, True, slice(1, 4)), "6: lag 1, slices")
def none_numbers_and_strings(nothing: None, x: Tensor, count: int, mode: str, gain: float, flag: bool, part: slice):
    h = loop(x, gain)
    return nothing, h * 2 if mode == "double" else h, count, mode, gain, flag, x[part]


@row(SEQUENCE, "6: lag 1, slices", kwargs=lambda k: {"scale": numbers(k + 9, B, N), "options": {"gain": 0.5}})
def keyword_arguments(x: Tensor, *, scale: Tensor, options: dict[str, float], unused: Any = None):
    return loop(x, options["gain"]) * scale


@row(lambda k: (numbers(k, T, B, N), 0.5 * k), "6: lag 1, slices", recordings=2, ran="recorded")
def another_number(x: Tensor, gain: float):
    return loop(x, gain)


@row(lambda k: tuple(numbers(k + 9 * n, B, N) for n in range(T)), "6: lag 1, stacked")
def starred_arguments(*xs: Tensor):
    h = xs[0]
    for x in xs:
        h = torch.tanh(h * 0.5 + x)
    return h


@row(lambda k: ([numbers(k + 9 * n, B, N) for n in range(T)],), "6: lag 1, stacked")
def a_list_of_steps(xs: list[Tensor]):
    h = xs[0]
    for x in xs:
        h = torch.tanh(h * 0.5 + x)
    return h


# Views and memory.


@row(lambda k: (numbers(k, N, B, T).permute(2, 1, 0),), "6: lag 1, slices")
def transposed_input(x: Tensor):
    return loop(x), x[1]


@row(lambda k: (numbers(k, 2 * T, B, 2 * N)[1::2, :, ::2],), "6: lag 1, slices")
def strided_input(x: Tensor):
    return loop(x)


@row(lambda k: (numbers(k, T, 1, N).expand(T, B, N),), "6: lag 1, slices")
def expanded_input(x: Tensor):
    return loop(x)


def _overlapping(k: int) -> tuple[Tensor, Tensor]:
    base = numbers(k, T + 1, B, N)
    return base[:-1], base[1:]


@row(_overlapping, "6: lag 1, slices", "6: lag 1, slices")
def inputs_on_one_memory(x: Tensor, y: Tensor):
    return loop(x) + loop(y)


@row(lambda k: (x := numbers(k, T, B, N), x), "6: lag 1, slices", "6: lag 1, slices")
def one_input_twice(x: Tensor, y: Tensor):
    return loop(x) + loop(y, 0.25)


@row(lambda k: (numbers(k, T, 0, N),), "6: lag 1, slices")
def no_entries(x: Tensor):
    return loop(x), x.sum()


@row(lambda k: (numbers(k, T, B, 0), numbers(k, T, B, N)), "6: lag 1, slices")
def one_input_without_entries(x: Tensor, y: Tensor):
    return loop(torch.cat([x, y], -1))


@row(lambda k: (numbers(k, 0, B, N).new_zeros(0, B, N), numbers(k, B, N)), ran="original", reason="no loop was found")
def no_steps(x: Tensor, h: Tensor):
    for x_t in x:
        h = torch.tanh(h + x_t)
    return h


@row(SEQUENCE, "6: lag 1, slices")
def outputs_that_are_inputs(x: Tensor):
    return loop(x), x, x[0], x.transpose(0, 1), [x]


@row(SEQUENCE, "6: lag 1, slices")
def one_output_twice(x: Tensor):
    h = loop(x)
    return h, h, {"again": h}


@row(tensors((B, N)), "6: lag 1")
def results_of_views(x: Tensor):
    for _ in range(T):
        x = torch.sin(x) + 1
    return x, x.t(), x[:, 1:], x.expand(4, B, N)


class Weights(nn.Module):
    b: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(numbers(3, N, N))
        self.register_buffer("b", numbers(4, N))

    def forward(self, x: Tensor):
        h = x[0]
        for x_t in x:
            h = torch.tanh(h @ self.w + x_t + self.b)
        return h, self.w, self.b


outputs_that_are_parameters = row(SEQUENCE, "6: invariant, lag 1, slices")(Weights)


# What is refused.


class Tagged(Tensor):
    pass


@row(lambda k: (numbers(k, T, B, N).as_subclass(Tagged),), ran="original", reason="Tagged")
def subclass_of_tensor(x: Tensor):
    return loop(x)


@row(lambda k: (numbers(k, B, N).to_sparse(), numbers(k, T, B, N)), ran="original", reason="layout")
def sparse_input(sparse: Tensor, x: Tensor):
    return loop(x) + sparse.to_dense()


@row(lambda k: (numbers(k, T, B, N), torch.zeros(3, device="meta")), ran="original", reason="meta")
def tensor_on_the_meta_device(x: Tensor, other: Tensor):
    return loop(x), other * 2


@row(SEQUENCE, ran="original", reason="no loop was found")
def no_loop(x: Tensor):
    return x.sin()


ROWS = rows_of(globals())
