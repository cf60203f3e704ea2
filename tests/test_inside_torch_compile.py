"""torch.compile around a compiled object lets it run between two graphs; an exported graph is the program's alone."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torch.fx.experimental.proxy_tensor import make_fx

import fxsolve

T, B, N = 12, 2, 4
OPTIONS: dict[str, Any] = {"schedule": "gs", "backend": "eager"}
# torch.compile looks at `.grad` of every tensor behind a graph break, and hides the warning only where it is shown.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


class Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(N, N)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        h = x[0]
        for x_t in x:
            h = torch.tanh(self.mix(h) * scale + x_t)
        return h


def loop(x: Tensor, scale: float = 1.0) -> Tensor:
    h = x[0]
    for x_t in x:
        h = torch.tanh(h * scale + x_t)
    return h


class Outer(nn.Module):
    def __init__(self, *parts: Any) -> None:
        super().__init__()
        self.parts, self.head = parts, nn.Linear(N, N)
        self.modules_among_them = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))

    def forward(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = x + part(x * 2, scale=0.5)
        return self.head(x)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def inputs(seed: int) -> Tensor:
    return torch.randn(T, B, N, generator=torch.Generator().manual_seed(seed))


def calls(fast: Any) -> int:
    return sum(entry.calls for entry in fast.entries)


WRAPPERS: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "the whole": lambda fast: fast,
    "a function around it": lambda fast: lambda x: fast(x, scale=0.5) * 2,
    "several calls": lambda fast: lambda x: torch.stack([fast(x * k) for k in (1.0, 2.0)]).sum(0),
    "without gradients": lambda fast: lambda x: _without_gradients(fast, x),
}


def _without_gradients(fast: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        y = fast(x)
    return y * 2


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("program", [loop, Smooth()], ids=["function", "module"])
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_was_emitted_runs_between_the_graphs(wrapper: str, program: Any, backend: str) -> None:
    fast, wrap = fxsolve.compile(program, **OPTIONS), WRAPPERS[wrapper]
    whole = torch.compile(wrap(fast), backend=backend)
    for seed in range(3):
        x = inputs(seed)
        assert torch.equal(whole(x), wrap(program)(x))
    assert calls(fast) >= 2
    assert str(fast.schedule) != "original"
    assert len(counters["graph_break"]) == 1


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_many_compiled_objects_in_one_model_train_and_need_no_more_frames(backend: str) -> None:
    """Twelve are more than the compilations that torch.compile makes for one code."""
    programs = [part for _ in range(6) for part in (Smooth(), loop)]
    ours, theirs = Outer(*(fxsolve.compile(part, **OPTIONS) for part in programs)), Outer(*programs)
    theirs.head = ours.head
    whole = torch.compile(ours, backend=backend)
    for seed in range(3):
        found = []
        for model in (whole, theirs):
            model.zero_grad()
            model(inputs(seed)).square().sum().backward()
            found.append([parameter.grad for parameter in theirs.parameters()])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert [calls(part) for part in ours.parts] == [2] * 12
    assert all(str(part.schedule) != "original" for part in ours.parts)
    assert len(counters["graph_break"]) == 1
    assert counters["frames"]["total"] < 8


def test_a_training_step_under_torch_compile_is_not_looked_into() -> None:
    """The backward pass is called between graphs, where torch.compile follows every Python function."""
    program = Smooth()
    fast = fxsolve.compile(program, **OPTIONS)

    def step(model: Any, x: Tensor) -> Tensor:
        program.zero_grad()
        model(x).square().sum().backward()
        return program.mix.weight.grad.clone()  # pyright: ignore[reportOptionalMemberAccess]

    frames = []
    for model in (fast, torch.compiler.disable(program)):
        torch._dynamo.reset()
        counters.clear()
        whole = torch.compile(step, backend="eager")
        for seed in range(3):
            assert torch.equal(whole(model, inputs(seed)), step(program, inputs(seed)))
        frames.append(counters["frames"]["total"])
    assert calls(fast) == 2
    assert frames[0] <= frames[1] + 3  # of the call, of the backward pass, and of what leads there


@pytest.mark.parametrize("program", [loop, Smooth()], ids=["function", "module"])
def test_a_whole_graph_is_refused_with_the_remedy(program: Any) -> None:
    whole = torch.compile(fxsolve.compile(program, **OPTIONS), backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"leave out fullgraph=True, or hand torch.compile"):
        whole(inputs(0))
    assert torch.equal(torch.compile(program, backend="eager", fullgraph=True)(inputs(0)), program(inputs(0)))


EXPORTERS: dict[str, Callable[[Any, Tensor], Any]] = {
    "export": lambda fast, x: torch.export.export(fast, (x,), strict=False).module(),
    "strict export": lambda fast, x: torch.export.export(fast, (x,), strict=True).module(),
    "make_fx": lambda fast, x: make_fx(fast)(x),
    "jit.trace": lambda fast, x: torch.jit.trace(fast, (x,), check_trace=False),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("exporter", EXPORTERS)
def test_what_makes_a_graph_sees_the_program_alone(exporter: str) -> None:
    program, x = Smooth(), inputs(0)
    fast = fxsolve.compile(program, **OPTIONS)
    fast(x)
    exported = EXPORTERS[exporter](fast, x)
    assert torch.equal(exported(inputs(1)), program(inputs(1)))
    assert calls(fast) == 0
