"""FILE.py:factory gives a model and inputs, and what is wrong with either is said with the user's own line."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.errors import CaptureError, InputError
from fxsolve.factory import Subject, blame, load, users_errors

TEXT = """
import torch
from torch import nn
import {neighbour}

model, x = nn.Linear(2, 2), torch.ones(1, 2)

def one_tensor(): return model, x
def several(): return model, (x, 3)
def named(): return model, ((x,), {{"scale": 2}})
def optional(n=1, *args, **kwargs): return model, (x,) * n
def required(n, m=1): return model, (x,)
def pair(): return model
def triple(): return model, x, x
def no_model(): return 3, x
def no_inputs(): return model, [x]
def raising(): return model, {neighbour}.fail()
constant = 3
"""
NEIGHBOUR = "import statistics\ndef fail(): return statistics.mean([])\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file that imports the one beside it."""
    neighbour = f"beside_{tmp_path.name}"
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / f"{neighbour}.py").write_text(NEIGHBOUR)
    (tmp_path / "random.py").write_text(TEXT.format(neighbour=neighbour))  # the name of a module of Python
    return str(tmp_path / "random.py")


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("one_tensor", (Tensor,), {}),
        ("several", (Tensor, int), {}),
        ("named", (Tensor,), {"scale": 2}),
        ("optional", (Tensor,), {}),
    ],
)
def test_inputs_are_a_tensor_a_tuple_or_arguments_by_place_and_name(
    file: str, name: str, args: tuple[type, ...], kwargs: dict[str, Any]
) -> None:
    import random

    subject = load(f"{file}:{name}")
    assert (tuple(map(type, subject.args)), subject.kwargs, subject.name) == (args, kwargs, "Linear")
    assert sys.modules["random"] is random


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("required", "a factory is called without arguments, but it needs n$"),
        ("pair", r"the factory returned Linear, not \(model, example inputs\)"),
        ("triple", "the factory returned a tuple of 3, not"),
        ("no_model", "the model is int, which cannot be called"),
        ("no_inputs", "the example inputs are list; a factory returns"),
        ("constant", r"random\.py: constant is not a function; its functions are one_tensor, several, "),
        ("nothing", r"random\.py: it has no nothing; its functions are"),
    ],
)
def test_what_is_wrong_with_a_factory_is_said(file: str, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(f"{file}:{name}")


def test_an_error_is_blamed_on_the_users_last_line_and_not_on_a_library(file: str) -> None:
    with pytest.raises(InputError, match="the factory raised StatisticsError") as caught:
        load(f"{file}:raising")
    assert re.search(r"\n  \S*beside_\S*\.py:2: def fail\(\): return statistics\.mean", str(caught.value))


def test_an_error_of_syntax_is_blamed_on_its_line(tmp_path: Path) -> None:
    path = tmp_path / "model.py"
    path.write_text("x = 1\ny = (\n")
    with pytest.raises(
        InputError, match=r"model\.py: importing the file raised SyntaxError: .*\n  .*model\.py:2: y = \("
    ):
        load(f"{path}:factory")
    path.write_text("")
    with pytest.raises(InputError, match="it has no factory; it defines no function"):
        load(f"{path}:factory")


@pytest.mark.parametrize("target", ["model.py", "model.py:", ":f", "model.py:a b", "model.py:f()"])
def test_what_is_no_file_and_factory_is_refused(target: str) -> None:
    with pytest.raises(InputError, match=r"is not FILE\.py:factory, for example examples/gru_loop\.py:factory"):
        load(target)


class Writing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        return x.mul_(scale)


def test_a_program_may_write_into_the_inputs_that_it_is_given() -> None:
    subject = Subject(Writing(), (torch.ones(2),), {"scale": 3.0})
    for _ in range(2):
        args, kwargs = subject.inputs()
        assert subject.model(*args, **kwargs).tolist() == [3.0, 3.0]
    assert [one.tolist() for one in subject.state()] == [[1.0], [0.0]]
    assert Subject(torch.tanh, (), {}).state() == []


def fail(x: Tensor) -> Tensor:
    raise ValueError("of the user")


def raising(error: Exception, model: Any) -> None:
    with users_errors(Subject(model, (torch.ones(1),), {})):
        raise error


def test_an_error_that_the_model_raises_alone_is_the_users() -> None:
    with pytest.raises(
        InputError, match=r"the model fail raised ValueError: of the user\n  .*test_factory\.py:\d+: raise Va"
    ):
        raising(RuntimeError("wrapped"), fail)


@pytest.mark.parametrize("error", [RuntimeError("of fxsolve"), CaptureError("a reason"), BrokenPipeError()])
def test_another_error_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        raising(error, torch.tanh if type(error) is RuntimeError else fail)
    assert caught.value is error


def test_without_a_line_of_the_user_the_error_stands_alone() -> None:
    assert blame(KeyError("k")) == "KeyError: 'k'"
