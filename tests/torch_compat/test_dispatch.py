"""Each thing that follows the operations of a thread is seen while it does, and not before or afterwards."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from fxsolve.torch_compat import dispatch

X = torch.ones(2)


class Function(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Light(dispatch.LightMode):
    """Counts the operators that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += 1
        return func(*args, **(kwargs or {}))


def has_default_device() -> bool:
    return [*map(type, dispatch.function_modes())] == [dispatch.DeviceContext]


SEEN: dict[str, tuple[Callable[[], AbstractContextManager[Any]], Callable[[], Any]]] = {
    "a dispatch mode": (Light, dispatch.count_dispatch_modes),
    "dispatch modes": (Light, dispatch.dispatch_modes),
    "a function mode": (Function, dispatch.count_function_modes),
    "function modes": (Function, dispatch.function_modes),
    "a default device": (lambda: torch.device("meta"), has_default_device),
    "autocast": (lambda: torch.autocast("cpu"), dispatch.is_any_autocast_enabled),
    "forward mode": (forward_ad.dual_level, dispatch.is_forward_mode),
    "hooks": (lambda: saved_tensors_hooks(lambda x: x, lambda x: x), dispatch.has_hooks_on_saved_tensors),
    "a place for saved tensors": (save_on_cpu, dispatch.has_hooks_on_saved_tensors),
}


@pytest.mark.parametrize("name", SEEN)
def test_what_follows_operations_is_seen_in_its_body_alone(name: str) -> None:
    make, question = SEEN[name]
    assert not question()
    with make():
        assert question()
    assert not question()


def inside_of(transform: Callable[..., Any], question: Callable[[], Any]) -> list[bool]:
    """What is answered in a function under a transform, and afterwards."""
    answers: list[bool] = []

    def function(x: Tensor) -> Tensor:
        answers.append(bool(question()))
        return x.sum()

    transform(function)
    return [*answers, bool(question())]


@pytest.mark.parametrize("transform", [torch.func.vmap, torch.func.grad, torch.func.functionalize])
def test_a_transform_is_seen_inside_of_what_it_transforms(transform: Callable[..., Any]) -> None:
    assert inside_of(lambda function: transform(function)(X), lambda: dispatch.current_transform() is not None) == [
        True,
        False,
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_tracer_is_seen() -> None:
    assert inside_of(lambda function: torch.jit.trace(function, (X,), check_trace=False), dispatch.tracing_state) == [
        True,
        False,
    ]


def test_an_export_is_seen() -> None:
    class Exported(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + 1 if dispatch.is_exporting() else x

    assert not dispatch.is_exporting()
    program = torch.export.export(Exported(), (X,), strict=False)
    assert torch.equal(program.module()(X), X + 1)
    assert not dispatch.is_exporting()


def test_without_modes_no_mode_sees_anything() -> None:
    with Light() as mode:
        X.neg()
        with dispatch.without_modes():
            X.neg()
            assert dispatch.count_dispatch_modes() == 0
        X.neg()
    assert mode.seen == 2


def test_without_torch_function_tensor_classes_are_not_asked() -> None:
    asked = X.as_subclass(type("Own", (Tensor,), {"__torch_function__": classmethod(lambda *_: "asked")}))
    assert torch.neg(asked) == "asked"
    with dispatch.WithoutTorchFunction():
        assert torch.neg(asked).tolist() == [-1.0, -1.0]


def test_tensors_that_are_made_on_meta_have_no_memory_and_the_form_that_they_would_have() -> None:
    with dispatch.OnMeta():
        made = torch.arange(6, device="cpu").view(2, 3).to(torch.float64).to("cpu")
        added = made + torch.ones(3)
    assert (made.is_meta, added.is_meta) == (True, True)
    assert (added.shape, added.dtype) == ((2, 3), torch.float64)
    assert not torch.ones(1).is_meta
