"""Blocks that are alike but for what they join: one body for all of them makes the sweep that they make one by one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

import fxsolve
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.lower.alike.find import find_alike
from fxsolve.plan.auto import example_values
from fxsolve.plan.lower_blocks import SweptBlocks, swept_blocks
from fxsolve.solvers.blocks import sweep_once
from fxsolve.solvers.stop import Stop
from tests.straight import DenseNet, Listed

pytestmark = pytest.mark.usefixtures("doubles")


ALL = tuple(tuple(range(k + 1)) for k in range(6))
HOLES = ((0,), (1, 0), (0, 2), (3, 1), (2, 4, 0), (5, 0, 3, 1, 4, 2))


class Stack(nn.Module):
    """Layers of features before them, in any order, each of which `make` gives for its width; the last reads all."""

    def __init__(self, make: Callable[[int], nn.Module], reads: tuple[tuple[int, ...], ...] = HOLES) -> None:
        super().__init__()
        self.reads = reads
        self.layers = nn.ModuleList(make(sum(3 if k else 5 for k in one)) for one in reads)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for layer, reads in zip(self.layers, self.reads, strict=True):
            seen.append(layer(torch.cat([seen[k] for k in reads], 1)))
        return torch.cat(seen, 1)


def conv(width: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(width), nn.ELU(), nn.Conv2d(width, 3, 3, padding=2, dilation=2))


def hidden(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3))


IMAGE, ROWS = (2, 3, 8, 8), (4, 5)
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "DenseNet": (lambda: DenseNet((5,)), (2, 3, 16, 16)),
    "checkpoints": (Listed, IMAGE),
    "convolutions": (lambda: Stack(conv, ALL), (2, 5, 6, 6)),
    "vectors": (lambda: Stack(lambda width: nn.Sequential(nn.SiLU(), nn.Linear(width, 3), nn.Tanh())), ROWS),
    "hidden layers": (lambda: Stack(hidden), ROWS),
}


def network(name: str) -> tuple[nn.Module, Tensor]:
    make, shape = NETS[name]
    model = make()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            for one, low in ((part.running_var, 0.5), (part.running_mean, -1.0), (part.bias, -1.0)):
                assert one is not None
                nn.init.uniform_(one, low, 2.0)
    return model.eval(), torch.randn(shape)


def compiled(model: nn.Module, tolerance: float = 1e-13) -> Any:
    return fxsolve.compile(model, backend="eager", schedule="jacobi", tolerance=tolerance)


def swept(model: nn.Module, x: Tensor, stop: Stop) -> tuple[SweptBlocks, list[Tensor]]:
    """All blocks of a network, and their values before the first sweep."""
    with torch.no_grad():
        program = fxsolve.capture(model, x)
    equations = fxsolve.partition(program).system.equations
    found = swept_blocks([[one] for one in equations if isinstance(one, Block)], stop)
    known = example_values(program)
    return found, found.blocks.start(tuple(known[name] for name in found.given))


class Launches(TorchDispatchMode):
    """Counts the calls that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not (func.is_view or func is torch.ops.aten.detach.default):
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NETS)
def test_every_sweep_is_that_of_the_blocks_one_by_one(name: str) -> None:
    model, x = network(name)
    (found, values), (_, alone) = swept(model, x, Stop(1e-6)), swept(model, x, Stop())
    blocks = found.blocks
    assert blocks.together
    assert len(blocks.alone) <= 3
    progress = blocks.progress(values)
    for level in range(1, max(blocks.levels) + 1):
        made = sweep_once(blocks, values, level, progress)
        assert made is not None
        values, alone = made[0], blocks.sweep(alone, level)
        ends = (blocks.sweep(one, rows=blocks.incomplete) for one in (values, alone))
        assert all(torch.allclose(one, other, rtol=0, atol=1e-12) for one, other in zip(*ends, strict=True))
        assert any(not torch.equal(one, other) for one, other in made[1])


@pytest.mark.parametrize("layers", [6, 12])
def test_a_sweep_over_a_dense_block_makes_eight_calls_whatever_its_depth(layers: int) -> None:
    model, x = DenseNet((layers,)).eval(), torch.randn(1, 3, 16, 16)
    found, values = swept(model, x, Stop(1e-6))
    module: Any
    (module,) = found.blocks.together
    progress = module.start(values)
    counts = []
    for level in range(1, max(module.wiring.levels) + 1):
        with torch.no_grad(), Launches() as launches:
            module.sweep(values, level, progress)
        values = found.blocks.sweep(values, level)
        counts.append(len(launches.names))
    assert max(counts) == 8
    assert len(module.wiring.levels) == layers - 1
    with torch.no_grad(), Launches() as launches:
        found.blocks.sweep(values)
    assert len(launches.names) > 7 * (layers - 1)


@pytest.mark.parametrize("name", NETS)
def test_values_and_gradients_are_those_of_the_network(name: str) -> None:
    model, x = network(name)
    fast, x = compiled(model), x.requires_grad_()
    fast(x)
    found = fast(x)
    expected = model(x)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    assert any("are swept at once" in note for note in fast.report().notes)
    assert all(run.sweeps <= run.length for run in fast.report().runs)
    wanted = [x, *model.parameters()]
    pairs = zip(
        torch.autograd.grad(found.square().sum(), wanted),
        torch.autograd.grad(expected.square().sum(), wanted),
        strict=True,
    )
    assert all(torch.allclose(one, other, rtol=1e-9, atol=1e-10) for one, other in pairs)
    assert any(run.method == "jacobi" and "backward" not in run.loop for run in fast.report().runs)


def test_single_precision_is_right_to_1e_4() -> None:
    model, x = network("DenseNet")
    model, x = model.float(), x.float()
    fast = compiled(model, 1e-6)
    with torch.no_grad():
        fast(x)
        assert torch.allclose(fast(x), model(x), rtol=0, atol=1e-4)
    (run,) = fast.report().runs
    assert run.status == "converged"
    assert run.sweeps <= run.length == 5


def test_what_need_be_right_to_the_last_bit_is_swept_one_by_one() -> None:
    model, x = network("DenseNet")
    fast = compiled(model, 0.0)
    with torch.no_grad():
        fast(x)
        assert torch.equal(fast(x), model(x))
    assert not any("are swept at once" in note for note in fast.report().notes)
    assert fast.report().runs


@pytest.mark.parametrize(
    ("norm", "why"),
    [(nn.LayerNorm, "takes other numbers in each"), (lambda width: nn.Softmax(1), "mixes what is joined")],
    ids=["layer norm", "softmax"],
)
def test_channels_that_are_mixed_otherwise_are_swept_one_by_one_and_the_report_says_why(norm: Any, why: str) -> None:
    model, x = Stack(lambda width: nn.Sequential(norm(width), nn.Linear(width, 3), nn.Tanh())), torch.randn(4, 5)
    fast = compiled(model)
    with torch.no_grad():
        fast(x)
        assert torch.allclose(fast(x), model(x), rtol=0, atol=1e-12)
    assert any("one by one" in note and why in note for note in fast.report().notes)
    assert fast.report().runs


class Joined(nn.Module):
    """Two layers read what one of before has joined."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.first = nn.ModuleList(nn.Linear(8, 4) for _ in range(3))
        self.second = nn.ModuleList(nn.Linear(8, 3 + k) for k in range(3))

    def forward(self, x: Tensor) -> Tensor:
        seen, found = [x], []
        for k, (before, first, second) in enumerate(zip(self.before, self.first, self.second, strict=True)):
            joined = torch.cat([torch.tanh(before(seen[-1])), seen[k // 2]], 1)
            found.append(torch.tanh(second(torch.relu(joined))))
            seen.append(torch.sin(first(joined)))
        return torch.cat([seen[-1], *found], 1)


def test_layers_that_join_what_several_others_read_are_swept_one_by_one() -> None:
    model, x = Joined(), torch.randn(4, 4)
    fast = compiled(model)
    with torch.no_grad():
        fast(x)
        assert fast.report().status == "emitted"
        assert torch.allclose(fast(x), model(x), rtol=0, atol=1e-12)
    notes = fast.report().notes
    assert any("before.1 to block0.before.2 are swept one by one: others read cat" in note for note in notes)
    assert any("first.0 to block0.first.2, are swept at once" in note for note in notes)


def looking(number: int, start: int, first: bool) -> Block:
    """A product with half of what is given, or half of a product: four columns from `start` on."""
    graph = fx.Graph()
    x, weight = graph.placeholder("x"), graph.placeholder("weight")
    if first:
        half = graph.call_function(torch.ops.aten.slice.Tensor, (x, 1, start, start + 4))
        made = graph.call_function(torch.ops.aten.mm.default, (half, weight))
    else:
        made = graph.call_function(torch.ops.aten.mm.default, (x, weight))
        half = graph.call_function(torch.ops.aten.slice.Tensor, (made, 1, start, start + 4))
    wide = (2, 8)
    shapes = (wide, (4, 8), (2, 4), wide) if first else ((2, 4), (4, 8), (2, 4), wide)
    for node, shape in zip((x, weight, half, made), shapes, strict=True):
        node.meta["spec"] = spec_of(torch.zeros(shape))
    graph.output((made if first else half,))
    inputs = (f"x{number}", f"weight{number}")
    return Block(f"block{number}", fx.GraphModule(nn.Module(), graph), inputs, (f"x{number + 1}",))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("starts", "together"), [((4, 4, 4), [(0, 1, 2)]), ((4, 0, 2), [])])
def test_layers_that_look_at_other_places_are_not_alike(
    starts: tuple[int, ...], together: list[tuple[int, ...]], first: bool
) -> None:
    rows = [[looking(number, start, first)] for number, start in enumerate(starts)]
    names = ["x0", *(f"weight{k}" for k in range(3)), *(f"x{k + 1}" for k in range(3))]
    found = find_alike(rows, {name: number for number, name in enumerate(names)}, (1, 2, 3))
    assert [group for group, _ in found.together] == together
    why = "lies at other places" if first else "takes other numbers in each"
    assert bool(together) or why in found.notes[0]


def test_layers_of_other_widths_are_swept_one_by_one() -> None:
    widths = (3, 5, 2, 4)
    layers = [nn.Linear(5 + sum(widths[:k]), widths[k]) for k in range(4)]
    model = Stack(lambda _: nn.Identity(), ALL[:4])
    model.layers = nn.ModuleList(nn.Sequential(layer, nn.Tanh()) for layer in layers)
    x = torch.randn(4, 5)
    fast = compiled(model)
    with torch.no_grad():
        fast(x)
        assert torch.allclose(fast(x), model(x), rtol=0, atol=1e-12)
    assert any("are like no other" in note for note in fast.report().notes)


def test_what_is_no_number_reaches_what_it_reaches_in_the_network() -> None:
    """Weights of zero do not hide it: zero times NaN is NaN."""
    model, x = network("vectors")
    fast = compiled(model)
    with torch.no_grad():
        fast(x)
        model.layers[3][1].bias[1] = float("nan")  # pyright: ignore
        expected = model(x)
        assert torch.allclose(fast(x), expected, equal_nan=True)
    assert expected[:, :5].isfinite().all()
    assert not expected.isfinite().all()
    assert fast.report().runs[0].status == "finished sequentially"


def test_what_is_no_number_reaches_no_other_layer_where_layers_swallow_it() -> None:
    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x > 0).to(x.dtype) - 0.5

    def layer(width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 8), Counts(), nn.Linear(8, 3))

    class Reciprocal(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(1 / x)

    model, x = Stack(lambda width: Reciprocal(layer(width))), torch.randn(4, 5)
    fast = compiled(model)
    with torch.no_grad():
        fast(x)
        assert fast.report().status == "emitted"  # the first sweep divides by zeros
        assert torch.allclose(fast(x), model(x), rtol=0, atol=1e-12)
    assert fast.report().runs[0].status == "finished sequentially"


@pytest.mark.parametrize(("side", "is_at_once"), [(186, True), (187, False)])
def test_what_is_swept_at_once_takes_no_more_than_64_mebibytes(side: int, is_at_once: bool) -> None:
    """Each of six blocks reads up to 20 channels of two images."""
    assert (6 * 20 * 2 * side**2 * 8 <= 64 << 20) == is_at_once
    found, _ = swept(Stack(conv, ALL).eval(), torch.randn(2, 5, side, side), Stop(1e-6))
    assert bool(found.blocks.together) == is_at_once
    assert any("side by side, what they read takes 64" in note for note in found.blocks.notes) != is_at_once
