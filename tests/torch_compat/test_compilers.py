"""What waits for the compiler to be imported leaves the imports of others alone."""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any

import pytest

from fxsolve.torch_compat import compilers


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """How to call off what waits for a module that is not there yet."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(compilers, "_FRAMES", "not_there.frames")
    return compilers.call_with_stances(lambda: None)


class _Seen(MetaPathFinder):
    def __init__(self, names: list[str], function: Callable[[], object]) -> None:
        self._names = names
        self._function = function

    def find_spec(self, fullname: str, *_: Any) -> None:
        self._names.append(fullname)
        self._function()


def test_an_import_during_which_it_is_called_off_asks_every_finder(waiting: Callable[[], object]) -> None:
    seen: list[str] = []
    sys.meta_path += [_Seen([], waiting), _Seen(seen, lambda: None)]
    with pytest.raises(ModuleNotFoundError):
        __import__("not_there_either")
    assert seen == ["not_there_either"]


def test_a_program_may_take_all_finders_away_meanwhile(waiting: Callable[[], object]) -> None:
    sys.meta_path[:] = sys.meta_path[1:]
    before = list(sys.meta_path)
    waiting()
    assert sys.meta_path == before
