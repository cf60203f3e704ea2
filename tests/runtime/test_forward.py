"""`forward`, and the methods of nn.Module, of a compiled module."""

import inspect
from typing import Any

from torch import Tensor, nn

from fxsolve.runtime.delegation import delegate_methods
from fxsolve.runtime.forward import Forward


class Model(nn.Module):
    def forward(self, x: float, scale: float = 2.0) -> float:
        """Scales."""
        return x * scale

    def train(self, mode: bool = True) -> "Model":
        self.trained = mode
        return super().train(mode)


class Compiled:
    """As compiled modules are: another class, with the program beside it."""

    def __init__(self, program: nn.Module) -> None:
        self.program = program

    def call(self, *args: Any, **kwargs: Any) -> tuple[str, Any]:
        return "compiled", self.program.forward(*args, **kwargs)

    forward = Forward(call, Model.forward)


def test_it_is_the_compiled_call_with_the_signature_of_the_programs_own() -> None:
    compiled = Compiled(Model())
    assert compiled.forward(3.0, scale=4.0) == ("compiled", 12.0)
    assert inspect.signature(compiled.forward) == inspect.signature(compiled.program.forward)
    assert compiled.forward.__doc__ == "Scales."


def test_what_a_trainer_wraps_is_the_programs_function() -> None:
    compiled = Compiled(Model())
    assert compiled.forward.__func__ is Model.forward
    compiled.forward = lambda x: x + 1
    assert compiled.program.forward(1.0) == 2.0


@delegate_methods
class Wrapped(nn.Module):
    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        self._runtime = type("Runtime", (), {"program": program})()


def test_methods_are_those_of_the_model_which_may_have_its_own() -> None:
    wrapped = Wrapped(Model())
    assert wrapped.train(False) is wrapped
    assert wrapped._runtime.program.trained is False


def test_what_is_no_method_of_modules_is_left() -> None:
    called: list[Tensor] = []
    assert "forward" not in vars(Wrapped)
    assert "__init__" in vars(Wrapped)
    wrapped = Wrapped(nn.Linear(2, 2))
    wrapped.register_forward_hook(lambda *given: called.append(given[-1]))
    assert len(wrapped._runtime.program._forward_hooks) == 1
    assert [name for name, _ in wrapped.named_parameters()] == ["weight", "bias"]
