"""A wrapper runs as it is around the compiled form of its module, and notices nothing of that."""

import gc
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.report.report import Report
from fxsolve.runtime.around import AroundRuntime, is_around
from fxsolve.runtime.calls import Runtime
from fxsolve.runtime.compiled import CompiledModule
from fxsolve.runtime.entries import Options

X = torch.rand(2, 3)


class Wrapper(nn.Module):
    """Averages nothing, and counts its calls."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.calls = module, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.module(x) + 1


class Marked(nn.Module):
    """Stands for a compiled module: what it gives is negative."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module

    def forward(self, x: Tensor) -> Tensor:
        return -self.inner(x)


def marked(module: nn.Module) -> tuple[nn.Module, Any]:
    return Marked(module), SimpleNamespace(latest=None, entries=lambda: (), report=lambda: None)


def around(module: nn.Module | None = None) -> tuple[AroundRuntime, Wrapper]:
    wrapper = Wrapper(module or nn.Linear(3, 3))
    return AroundRuntime(wrapper, Options(), marked), wrapper


def test_the_compiled_module_runs_in_the_place_of_the_wrappers_own() -> None:
    runtime, wrapper = around()
    inner = wrapper.module
    assert torch.equal(runtime.call((X,), {}), 1 - inner(X))
    assert torch.equal(runtime.call((), {"x": X}), 1 - inner(X))
    assert wrapper.module is inner
    assert wrapper.calls == 2  # what the wrapper keeps is kept on it


def test_hooks_are_given_a_module_that_is_equal_to_the_wrapper() -> None:
    runtime, wrapper = around()
    seen: list[nn.Module] = []
    wrapper.register_forward_hook(lambda module, *_: seen.append(module))
    runtime.call((X,), {})
    (one,) = seen
    assert one == wrapper
    assert {wrapper: "found"}[one] == "found"
    assert one != Wrapper(wrapper.module)
    assert isinstance(one, Wrapper)


def test_another_module_is_compiled_anew() -> None:
    runtime, wrapper = around()
    runtime.call((X,), {})
    wrapper.module = nn.Linear(3, 4)
    assert torch.equal(runtime.call((X,), {}), 1 - wrapper.module(X))


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_a_wrapper_that_is_observed_runs_as_it_is() -> None:
    runtime, wrapper = around()
    with torch.autograd.detect_anomaly():
        assert torch.equal(runtime.call((X,), {}), 1 + wrapper.module(X))


def test_a_result_keeps_what_its_backward_pass_needs_and_nothing_else_does() -> None:
    runtime, wrapper = around()
    result = runtime.call((X,), {})
    view = weakref.ref(runtime._view)
    wrapper.module = nn.Linear(3, 3)
    runtime.call((X,), {})
    gc.collect()
    assert view() is not None
    del result
    gc.collect()
    assert view() is None


def test_the_report_is_that_of_the_module_under_the_wrappers_name() -> None:
    def inside(module: nn.Module) -> tuple[nn.Module, Runtime]:
        runtime = Runtime(module, Options(backend="eager"))
        return CompiledModule(runtime), runtime

    runtime = AroundRuntime(Wrapper(nn.Linear(3, 3)), Options(backend="eager"), inside)
    runtime.call((X,), {})
    report = runtime.report()
    assert isinstance(report, Report)
    assert report.program == "Wrapper"
    assert report.notes[-1] == "Wrapper runs as it is, at every call: compiled is the Linear inside of it"
    assert len(runtime.entries()) == 1


def test_only_what_averages_gradients_is_a_wrapper() -> None:
    class Averaging(nn.parallel.DistributedDataParallel):
        def __init__(self) -> None:
            nn.Module.__init__(self)

    assert is_around(Averaging())
    assert not is_around(Wrapper(nn.Linear(1, 1)))
    assert not is_around(nn.parallel.DataParallel(nn.Linear(1, 1)))
    assert not is_around(print)
