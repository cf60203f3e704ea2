"""The user's line is the innermost one outside of Python, torch and fxsolve."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import pytest
import torch

from fxsolve.capture import source
from fxsolve.capture.source import user_line
from fxsolve.runtime.opaque import run_between_graphs


@contextmanager
def nothing() -> Iterator[None]:
    yield


WAYS: dict[str, Callable[[], str]] = {
    "nothing": user_line,
    "Python": nothing()(user_line),
    "torch": torch.no_grad()(user_line),
    "fxsolve": partial(run_between_graphs, user_line, (), {}),
}


def line_here() -> int:
    """The line of the call."""
    return sys._getframe(1).f_lineno


@pytest.mark.parametrize("way", WAYS)
def test_the_line_is_that_of_the_call_whatever_is_in_between(way: str) -> None:
    found, line = WAYS[way](), line_here()
    assert found == f"{__file__}:{line}"


def test_of_the_users_lines_the_innermost_one_is_meant() -> None:
    def inner() -> tuple[str, int]:
        return user_line(), line_here()

    found, line = inner()
    assert found == f"{__file__}:{line}"


def test_without_users_code_on_the_stack_there_is_no_line() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(user_line).result() == ""


@pytest.mark.parametrize(
    ("path", "is_users"),
    [
        ("/home/me/model.py", True),
        ("<stdin>", True),
        (source._LIBRARY + "contextlib.py", False),
        (source._LIBRARY + "site-packages/zuko/flows.py", True),
        (source._TORCH + "functional.py", False),
        (source._FXSOLVE + "capture/tape.py", False),
        (source._FXSOLVE.rstrip("/") + "_models/net.py", True),  # begins like the package
        ("<frozen importlib._bootstrap>", False),
        ("<eval_with_key>.3", False),
    ],
)
def test_installed_libraries_are_users_code_and_python_torch_and_fxsolve_are_not(path: str, is_users: bool) -> None:
    assert source.is_user_code(path) == is_users


def test_a_line_that_is_met_again_is_the_same_string() -> None:
    first, second = (user_line() for _ in range(2))
    assert first is second
