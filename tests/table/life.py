"""Rows: what may happen to a model between two calls, and the modes in which it may be called."""

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tests.table.row import B, Double, N, Row, T, numbers, tensors


class Cell(Double):
    gain = 0.5

    def prepare(self) -> None:
        self.read, self.drop = nn.Linear(N, N), nn.Dropout(0.3)

    def forward(self, x: Tensor):
        h, states = torch.zeros_like(x[0]), []
        for x_t in x:
            h = torch.tanh(self.read(self.drop(h)) * self.gain + x_t)
            states.append(h)
        return torch.stack(states)


class Evaluated(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.eval()


LOOPS = ("6: invariant, lag 1, slices",)
SEQUENCE = tensors((T, B, N))


def _row(name: str, **facts: Any) -> Row:
    return Row(name, Evaluated, facts.pop("inputs", SEQUENCE), facts.pop("loops", LOOPS), **facts)


def scale(model: Any) -> None:
    for parameter in model.parameters():
        parameter.data.mul_(1.5)


def step(model: Any) -> None:
    for parameter in model.parameters():
        parameter.grad = parameter.detach().sign()
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    optimizer.step()
    optimizer.zero_grad()


def load(model: Any) -> None:
    model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})


def replace(model: Any) -> None:
    model.read.weight = nn.Parameter(numbers(8, N, N))


def double(model: Any) -> None:
    model.double()


def half_then_double(model: Any) -> None:
    model.bfloat16().double()


def train(model: Any) -> None:
    model.train()


def gain(model: Any) -> None:
    model.gain = 0.25


def freeze(model: Any) -> None:
    model.requires_grad_(False)


def hook(model: Any) -> None:
    model.read.register_forward_hook(lambda module, args, output: output * 0.5)


def pre_hook(model: Any) -> None:
    model.register_forward_pre_hook(lambda module, args: (args[0] + 1,))


def deep_copy(model: Any) -> Any:
    return copy.deepcopy(model)


def pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


@contextmanager
def autocast() -> Iterator[None]:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        yield


def single(k: int) -> tuple[Tensor]:
    return (numbers(k, T, B, N, dtype=torch.float32),)


AGAIN = {"recordings": 2, "calls": (1, 2, 3)}

ROWS = [
    _row("parameters_scaled", between=scale),
    _row("optimizer_step", between=step),
    _row("state_dict_loaded", between=load),
    _row("parameter_replaced", between=replace, recordings=2, ran="recorded"),
    _row("moved_to_another_type_and_back", between=half_then_double),
    _row("moved_to_double", between=double),
    _row("requires_grad_off", between=freeze),
    _row("train_flag", between=train, runs=(T, T), **AGAIN),
    _row("attribute_set", between=gain, **AGAIN),
    _row("hook_added", between=hook, recordings=3, calls=(1, 2, 3), ran="recorded"),
    _row("hook_on_the_model_added", between=pre_hook, recordings=3, calls=(1, 2, 3), ran="recorded"),
    _row("deep_copy", between=deep_copy, ran="recorded"),
    _row("pickle", between=pickled, ran="recorded"),
    _row("inference_mode", mode=torch.inference_mode),
    Row("autocast", lambda: Evaluated().float(), single, LOOPS, mode=autocast),
    Row("training_mode", Cell, SEQUENCE, ("6: stacked", *LOOPS), draws=T),
]
