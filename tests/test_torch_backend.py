"""`torch.compile(..., backend="fxsolve")`: dynamo captures, fxsolve compiles; values and gradients stay the same."""

import importlib.metadata
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.errors import InputError
from fxsolve.torch_backend import compile_graph

GROUP = "torch_dynamo_backends"
ROOT = Path(__file__).resolve().parents[1]
OPTIONS = {"schedule": "gs", "backend": "eager"}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(4, 4)

    def forward(self, x: Tensor, steps: int = 20) -> Tensor:
        for _ in range(steps):
            x = torch.tanh(self.mix(x)) + 0.1
        return x


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def watching(made: list[Any]) -> Callable[..., Any]:
    """The backend, which notes what it made."""

    def backend(graph: Any, inputs: Any, **options: Any) -> Any:
        made.append(compile_graph(graph, inputs, **options))
        return made[-1]

    return backend


def gradients(program: Any, model: nn.Module, x: Tensor) -> list[Tensor]:
    y = program(x)
    return [y.detach(), *torch.autograd.grad(y.sum(), (x, *model.parameters()))]


def test_values_and_gradients_are_those_of_the_program() -> None:
    model, x, made = Net(), torch.randn(3, 4, requires_grad=True), []
    compiled = torch.compile(model, backend=watching(made), options=OPTIONS)
    for _ in range(3):
        for ours, theirs in zip(gradients(compiled, model, x), gradients(model, model, x), strict=True):
            assert torch.equal(ours, theirs)
    assert len(made) == 1
    assert "fixed_point" in made[0].report().schedule


def test_writes_into_arguments_and_graph_breaks_are_kept() -> None:
    def fill(x: Tensor, rows: Tensor) -> Tensor:
        for t in range(1, 12):
            rows[t] = torch.tanh(rows[t - 1] + x[t])
        return rows if rows.sum() > 100 else rows * 2

    made: list[Any] = []
    compiled = torch.compile(fill, backend=watching(made), options=OPTIONS)
    for _ in range(3):
        x, ours, theirs = torch.randn(12, 3), torch.zeros(12, 3), torch.zeros(12, 3)
        assert torch.equal(compiled(x, ours), fill(x, theirs))
        assert torch.equal(ours, theirs)
    assert len(made) == 2


def test_options_that_there_are_not_are_refused() -> None:
    with pytest.raises(InputError, match="did you mean 'schedule'"):
        compile_graph(torch.fx.symbolic_trace(nn.Linear(4, 4)), (), options={"shedule": "gs"})


def test_the_backend_is_declared_under_its_name() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    ((name, target),) = declared.items()
    entry = importlib.metadata.EntryPoint(name, target, GROUP)
    assert (name, entry.load()) == ("fxsolve", compile_graph)


def test_torch_finds_it_by_its_name() -> None:
    if not importlib.metadata.entry_points(group=GROUP, name="fxsolve"):
        pytest.skip("fxsolve was installed before it declared a backend: bash tools/setup")
    model, x = Net(), torch.randn(3, 4)
    with torch.no_grad():
        assert torch.equal(torch.compile(model, backend="fxsolve", options=OPTIONS)(x), model(x))
