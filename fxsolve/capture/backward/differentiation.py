"""torch's functions that run a backward pass, as they are but for their look at torch function modes.

That look switches a mode off in all that the function runs: hooks, custom functions, steps that are run again. Called
in this form, they run them under the mode.
"""

from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

from fxsolve.torch_compat import overrides


def _without_look(function: Any) -> Callable[..., Any]:
    code = function.__code__
    looks = {name: lambda *_: False for name in overrides.questions_of(code)}
    scope = {**function.__globals__, **looks}
    copied = FunctionType(code, scope, function.__name__, function.__defaults__, function.__closure__)
    copied.__kwdefaults__ = function.__kwdefaults__
    return copied


BACKWARD_PASSES: Mapping[Any, Callable[..., Any]] = {
    function: _without_look(function) for function in overrides.BACKWARD_PASSES
}
