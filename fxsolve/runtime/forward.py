"""`forward` of a compiled module, for those who look at it, wrap it or replace it, as trainers do."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, final

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)


class HasForward(Protocol[P, R_co]):
    """A module, by what it takes and returns."""

    @property
    def forward(self) -> Callable[P, R_co]: ...


@final
class Forward:
    """The compiled `call`, with the signature of the program's own `forward`, which its class has as `own`.

    Like a bound method, what it gives has a `__func__`, which is the program's: what trainers wrap and set again as the
    `forward` of a compiled module becomes that of its program, and must not lead back to the compiled call.
    """

    def __init__(self, call: Callable[..., Any], own: Callable[..., Any]) -> None:
        self._call = call
        self._own = own

    def __get__(self, compiled: Any, owner: type | None = None) -> Callable[..., Any]:
        if compiled is None:
            return _like(self._call, self._own)
        return _like(functools.partial(self._call, compiled), compiled.program.forward)

    def __set__(self, compiled: Any, value: Any) -> None:
        # Its presence lets this descriptor go before the `forward` in the dictionary that a module shares.
        compiled.program.forward = value


def _like(call: Callable[..., Any], own: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(own)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return call(*args, **kwargs)

    vars(forward)["__func__"] = getattr(own, "__func__", own)
    return forward
