"""Looking up private names of torch, or saying which one is gone."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter, methodcaller
from types import ModuleType
from typing import Any

import torch

from fxsolve.errors import TorchVersionError

TESTED = ("2.11", "2.13")  # the whole test suite runs on these; see the development section of the README
_NOT_FOUND = re.compile(r"cannot import name '(\w+)' from '([\w.]+)'")


@contextmanager
def relied_on() -> Iterator[None]:
    """In the body private names are imported; a missing one raises `TorchVersionError`."""
    try:
        yield
    except ImportError as error:
        found = _NOT_FOUND.match(str(error))
        raise missing(f"{found[2]}.{found[1]}" if found else f"the module {error.name}") from error


def missing(what: str) -> TorchVersionError:
    """The error that names what this torch does not have."""
    return TorchVersionError(
        f"fxsolve relies on {what}, which torch {torch.__version__} does not have, or not as fxsolve knows it. "
        f"fxsolve is tested with torch {' and '.join(TESTED)}: install one of these, or a newer fxsolve."
    )


def lookup(owner: Any, name: str) -> Any:
    """A private attribute of a class or a module, or of an example of what has it."""
    if not hasattr(owner, name):
        raise missing(f"{_path(owner)}.{name}")
    return getattr(owner, name)


def getter(owner: Any, name: str) -> Any:
    """A function that reads this private attribute of its argument; `owner` is a class, or an example."""
    lookup(owner, name)
    return attrgetter(name)


def caller(owner: Any, name: str) -> Any:
    """A function that calls this private method of its argument, whose class may have its own."""
    lookup(owner, name)
    return methodcaller(name)


def require(holds: bool, what: str) -> None:
    """Raise `TorchVersionError` about `what`, unless it is there."""
    if not holds:
        raise missing(what)


def _path(owner: Any) -> str:
    if isinstance(owner, ModuleType):
        return owner.__name__
    kind = owner if isinstance(owner, type) else type(owner)
    return f"{kind.__module__}.{kind.__qualname__}"
