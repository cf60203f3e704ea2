"""Methods of nn.Module on a compiled module, which are those of its model."""

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from torch import nn

_Kind = TypeVar("_Kind", bound=nn.Module)


def delegate_methods(kind: type[_Kind]) -> type[_Kind]:
    """Call the methods of nn.Module on the model, which may have overridden them."""
    for name, member in vars(nn.Module).items():
        if isinstance(member, FunctionType) and not name.startswith("__") and name != "forward":
            setattr(kind, name, _delegate(name, member))
    return kind


def _delegate(name: str, member: FunctionType) -> Callable[..., Any]:
    @functools.wraps(member)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        program = self._runtime.program
        result = getattr(program, name)(*args, **kwargs)
        return self if result is program else result

    return method
