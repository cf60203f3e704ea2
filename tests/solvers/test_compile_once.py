"""Equal graphs are compiled once in a process; graphs that differ in anything that counts are not equal."""

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from fxsolve.solvers import compile_once
from fxsolve.solvers.compile_once import compile_graph
from fxsolve.solvers.fuse import FusedChunk

X = torch.arange(6.0).reshape(2, 3)


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The graphs that were compiled."""
    made: list[nn.Module] = []

    def pretend(module: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
        made.append(module)
        return module

    monkeypatch.setattr(compile_once, "_kept", OrderedDict())
    monkeypatch.setattr(compile_once, "compile_by_inductor", pretend)
    return made


def graph(function: Callable[..., Tensor]) -> fx.GraphModule:
    return fx.symbolic_trace(function)


def test_equal_graphs_for_equal_inputs_are_compiled_once(compiled: list[nn.Module]) -> None:
    one, two = (FusedChunk(graph(lambda x: torch.sin(x) + 1)) for _ in range(2))
    assert torch.equal(one(X), two(X + 0))
    assert torch.equal(two(X * 2), torch.sin(X * 2) + 1)
    assert len(compiled) == 1


@pytest.mark.parametrize(
    "other",
    [lambda x: x + 1.0, lambda x: x + True, lambda x: x - 1, lambda x: 1 + x],
    ids=["float", "bool", "op", "order"],
)
def test_graphs_that_differ_in_a_constant_or_an_op_are_not_equal(other, compiled: list[nn.Module]) -> None:
    compile_graph(graph(lambda x: x + 1), (X,))
    compile_graph(graph(other), (X,))
    assert len(compiled) == 2


@pytest.mark.parametrize(
    "other", [X.double(), X.T, X[:1], X.flatten(), X.to("meta")], ids=["dtype", "strides", "shape", "dims", "device"]
)
def test_inputs_of_another_form_need_code_of_their_own(other: Tensor, compiled: list[nn.Module]) -> None:
    module = graph(lambda x: x + 1)
    compile_graph(module, (X,))
    compile_graph(module, (other,))
    assert len(compiled) == 2


def test_settings_that_go_into_the_code_are_told_apart(compiled: list[nn.Module]) -> None:
    module, threads = graph(lambda x: x + 1), torch.get_num_threads()
    compile_graph(module, (X,))
    try:
        torch.set_num_threads(threads + 1)
        compile_graph(module, (X,))
    finally:
        torch.set_num_threads(threads)
    with torch._inductor.config.patch(fallback_random=True):  # pyright: ignore
        compile_graph(module, (X,))
    with torch.autocast("cpu"):
        compile_graph(module, (X,))
    compile_graph(module, (X,))
    assert len(compiled) == 4


def test_copies_use_the_code_of_the_first(compiled: list[nn.Module]) -> None:
    fused = FusedChunk(graph(lambda x: x * 3))
    for one in (fused, copy.deepcopy(fused), pickle.loads(pickle.dumps(fused))):
        assert torch.equal(one(X), X * 3)
    assert len(compiled) == 1


def test_the_least_recently_used_goes_first(compiled: list[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_once, "MOST_KEPT", 2)
    plus, minus, times = graph(lambda x: x + 1), graph(lambda x: x - 1), graph(lambda x: x * 2)
    for module in (plus, minus, plus, times, plus, minus):
        compile_graph(module, (X,))
    assert [one.code for one in compiled] == [one.code for one in (plus, minus, times, minus)]
