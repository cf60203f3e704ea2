"""The backward pass of blocks that join lists: one body for all of them makes the sweep that they make one by one."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.lower.alike.added import build_added
from fxsolve.lower.alike.align import Summand
from fxsolve.lower.alike.fold import fold
from fxsolve.lower.alike.gradients import scaled_back
from fxsolve.lower.alike.kinds import call_of
from fxsolve.lower.alike.match import Likeness
from fxsolve.lower.alike.norms import scale_of
from fxsolve.lower.alike.parts import join_parts, sum_of_parts
from fxsolve.lower.alike.spread import kinds_behind_sum
from fxsolve.plan.auto import example_values
from fxsolve.plan.lower_blocks import SweptBlocks, swept_blocks
from fxsolve.solvers.added import AddedWiring, AlikeAdded, Segment
from fxsolve.solvers.blocks import sweep_once
from fxsolve.solvers.stop import Stop
from tests.lower.test_alike import ALL, HOLES, Launches, Stack, compiled, conv, network
from tests.lower.test_alike_parts import add, nodes
from tests.straight import DenseNet

pytestmark = pytest.mark.usefixtures("doubles")
aten = torch.ops.aten


class Prepending(Stack):
    """Each layer puts what it gives before all earlier features."""

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for layer in self.layers:
            seen.insert(0, layer(torch.cat(seen, 1)))
        return torch.cat(seen, 1)


def vectors(width: int) -> nn.Module:
    return nn.Sequential(nn.SiLU(), nn.Linear(width, 3), nn.Tanh())


class Inverse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1 / (3 + x.sin())


def inverses(width: int) -> nn.Module:
    """The gradient of an inverse is no product of what it is given: a zero need not stay one."""
    return nn.Sequential(nn.BatchNorm2d(width), Inverse(), nn.Conv2d(width, 3, 3, padding=1))


def normal(width: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(width), nn.SiLU(), nn.Conv2d(width, 3, 3, padding=2, dilation=2))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "DenseNet": (lambda: network("DenseNet")[0], (2, 3, 16, 16)),
    "vectors": (lambda: Stack(vectors, ALL), (4, 5)),
    "convolutions": (lambda: Stack(normal, ALL), (2, 5, 6, 6)),
    "ELU": (lambda: Stack(conv, ALL), (2, 5, 6, 6)),
    "inverses": (lambda: Stack(inverses, ALL), (2, 5, 6, 6)),
    "prepended": (lambda: Prepending(vectors, ALL), (4, 5)),
}


def backward_blocks(model: nn.Module, x: Tensor, stop: Stop) -> tuple[SweptBlocks, list[Tensor]]:
    """All blocks of the backward pass of a network, and their values before the first sweep."""
    program = fxsolve.capture(model.eval(), x.requires_grad_())
    rows, known = [], example_values(program)
    with torch.no_grad():
        for one in fxsolve.partition(program).system.equations:
            assert isinstance(one, Block)
            if "_backward" in one.name:
                rows.append([one])
            else:
                known.update(zip(one.outputs, one.body(*(known[name] for name in one.inputs)), strict=True))
        found = swept_blocks(rows, stop)
        return found, found.blocks.start(tuple(known[name] for name in found.given))


@pytest.mark.parametrize("name", NETS)
def test_every_sweep_is_that_of_the_blocks_one_by_one(name: str) -> None:
    make, shape = NETS[name]
    model, x = make(), torch.randn(shape)
    (found, values), (_, alone) = backward_blocks(model, x, Stop(1e-6)), backward_blocks(model, x, Stop())
    blocks = found.blocks
    (module,) = blocks.together
    assert isinstance(module, AlikeAdded)
    assert bool(module.constants) == (name == "inverses")
    assert len(module.wiring.levels) >= 4
    with torch.no_grad():
        progress = blocks.progress(values)
        for level in range(1, max(blocks.levels) + 1):
            made = sweep_once(blocks, values, level, progress)
            assert made is not None
            values, alone = made[0], blocks.sweep(alone, level)
            ends = (blocks.sweep(one, rows=blocks.incomplete) for one in (values, alone))
            assert all(torch.allclose(one, other, rtol=0, atol=1e-12) for one, other in zip(*ends, strict=True))
        right = blocks.in_order(alone, 1)
        last = blocks.sweep(values, rows=blocks.incomplete)
    assert all(torch.allclose(one, other, rtol=0, atol=1e-12) for one, other in zip(last, right, strict=True))


@pytest.mark.parametrize("layers", [6, 12])
def test_a_sweep_over_a_dense_block_makes_as_many_calls_whatever_its_depth(layers: int) -> None:
    model, x = DenseNet((layers,)).eval(), torch.randn(1, 3, 16, 16)
    found, values = backward_blocks(model, x, Stop(1e-6))
    module: Any
    (module,) = found.blocks.together
    assert len(module.wiring.levels) == layers - 1
    counts = []
    with torch.no_grad():
        progress = module.start(values)
        for level in range(1, max(module.wiring.levels) + 1):
            with Launches() as launches:
                progress.results = module.sweep(values, level, progress)
            counts.append(len(launches.names))
            values = found.blocks.sweep(values, level)
        with Launches() as launches:
            found.blocks.sweep(values)
    assert max(counts) == 14
    assert len(launches.names) > 7 * (layers - 1)


@pytest.mark.parametrize("name", NETS)
def test_gradients_are_those_of_the_network(name: str) -> None:
    make, shape = NETS[name]
    model, x = make().eval(), torch.randn(shape).requires_grad_()
    fast = compiled(model)
    fast(x)
    wanted = [x, *model.parameters()]
    found = torch.autograd.grad(fast(x).square().sum(), wanted)
    expected = torch.autograd.grad(model(x).square().sum(), wanted)
    assert all(torch.allclose(one, other, rtol=1e-10, atol=1e-10) for one, other in zip(found, expected, strict=True))
    report = fast.report()
    assert report.status == "emitted"
    assert any("are swept at once" in note and "_backward" in note for note in report.notes)
    (run,) = [run for run in report.runs if "_backward" in run.loop]
    assert run.method == "jacobi"
    assert run.sweeps <= run.length
    assert run.status != "finished sequentially"


def test_gradients_in_single_precision_are_right_to_1e_4() -> None:
    model, x = network("DenseNet")
    model, x = model.float(), x.float().requires_grad_()
    fast = compiled(model, 1e-6)
    fast(x)
    wanted = [x, *model.parameters()]
    found = torch.autograd.grad(fast(x).square().sum(), wanted)
    expected = torch.autograd.grad(model(x).square().sum(), wanted)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
    assert any("_backward" in note and "are swept at once" in note for note in fast.report().notes)


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: Stack(vectors, HOLES), "lies at other places in each value"),
        (
            lambda: Stack(lambda width: nn.Sequential(nn.Softmax(1), nn.Linear(width, 3), nn.Tanh()), ALL),
            "mixes what was",
        ),
    ],
    ids=["other places", "softmax"],
)
def test_what_is_spread_otherwise_is_swept_one_by_one_and_the_notes_say_why(model: Any, why: str) -> None:
    found, _ = backward_blocks(model(), torch.randn(4, 5), Stop(1e-6))
    assert not found.blocks.together
    assert any("one by one" in note and why in note for note in found.blocks.notes)


def test_a_gradient_that_is_no_number_reaches_what_it_reaches_in_the_network() -> None:
    make, shape = NETS["vectors"]
    model, x = make().eval(), torch.randn(shape).requires_grad_()
    fast = compiled(model)
    fast(x)
    weights = torch.ones(shape[0], 5 + 3 * len(ALL))
    weights[1, 9] = float("nan")
    wanted = [x, *model.parameters()]
    found = torch.autograd.grad((fast(x) * weights).sum(), wanted)
    expected = torch.autograd.grad((model(x) * weights).sum(), wanted)
    pairs = list(zip(found, expected, strict=True))
    assert all(torch.allclose(one, other, rtol=1e-10, atol=1e-10, equal_nan=True) for one, other in pairs)
    assert any(other.isnan().any() for other in expected)


def test_sums_of_parts_are_one_call_of_the_same_bits() -> None:
    graph, inputs = nodes(torch.zeros(2, 9), torch.zeros(2, 5), torch.zeros(2, 3))
    cuts = [add(graph, aten.slice.Tensor, inputs[0], 1, 4, 7), add(graph, aten.slice.Tensor, inputs[1], 1, -3, 9)]
    both = add(graph, aten.add.Tensor, *cuts)
    graph.output((add(graph, aten.tanh.default, add(graph, aten.add.Tensor, both, inputs[2])),))
    module = torch.fx.GraphModule(nn.Module(), graph)
    joined = join_parts(Block("one", module, ("a", "b", "c"), ("y",)))
    (call,) = joined.body.graph.find_nodes(op="call_function", target=sum_of_parts)
    assert call.args[1:] == (((4, 7), (2, 5), (0, 3)), 1)
    values = (torch.randn(2, 9), torch.randn(2, 5), torch.randn(2, 3))
    assert torch.equal(joined.body(*values)[0], module(*values)[0])


def test_the_gradient_behind_a_stride_that_leaves_entries_over_is_zero_there() -> None:
    x, grad, weight = torch.randn(2, 3, 8, 8), torch.randn(2, 4, 4, 4), torch.randn(4, 3, 3, 3)
    graph, inputs = nodes(grad, x, weight)
    args = (*inputs, [0], [2, 2], [1, 1], [1, 1], False, [0, 0], 1, [True, False, False])
    both = graph.call_function(aten.convolution_backward.default, args)
    first = graph.call_function(operator.getitem, (both, 0))
    first.meta["spec"] = spec_of(x)
    graph.output((first,))
    folded = fold(graph)
    assert [node.target for node in folded.nodes if node.op == "call_function"] == [aten.convolution.default]
    found = torch.fx.GraphModule(nn.Module(), folded)(grad, x, weight)[0]
    expected = torch.fx.GraphModule(nn.Module(), graph)(grad, x, weight)[0]
    torch.testing.assert_close(found, expected)


def test_the_gradient_behind_a_norm_by_fixed_statistics_is_scaled() -> None:
    x, grad, mean = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4), torch.randn(3)
    weight, variance = torch.rand(3) + 0.5, torch.rand(3) + 0.5
    graph, inputs = nodes(grad, x, weight, mean, variance)
    args = (*inputs, None, None, False, 1e-5, [True, True, True])
    first = graph.call_function(
        operator.getitem, (graph.call_function(aten.native_batch_norm_backward.default, args), 0)
    )
    first.meta["spec"] = spec_of(x)
    call = call_of(first.args[0])  # pyright: ignore[reportArgumentType]
    assert call is not None
    graph.output((scaled_back(graph, call, first), scale_of(graph, call)))
    found = torch.fx.GraphModule(nn.Module(), graph)(grad, x, weight, mean, variance)
    saved = (mean, (variance + 1e-5).rsqrt())
    expected = aten.native_batch_norm_backward(grad, x, weight, mean, variance, *saved, False, 1e-5, [True, True, True])
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], weight / (variance + 1e-5).sqrt())


def test_a_sum_that_others_read_too_stays_two() -> None:
    graph, inputs = nodes(torch.zeros(2, 9), torch.zeros(2, 3))
    both = add(graph, aten.add.Tensor, add(graph, aten.slice.Tensor, inputs[0], 1, 4, 7), inputs[1])
    graph.output((both, add(graph, aten.add.Tensor, both, inputs[1])))
    joined = join_parts(Block("one", torch.fx.GraphModule(nn.Module(), graph), ("a", "b"), ("y", "z")))
    assert len(joined.body.graph.find_nodes(op="call_function", target=sum_of_parts)) == 1
    assert len(joined.body.graph.find_nodes(op="call_function", target=aten.add.Tensor)) == 1


def test_a_product_spreads_a_sum_and_what_mixes_it_again_is_refused() -> None:
    graph, (x, narrow, wide) = nodes(torch.zeros(2, 3), torch.zeros(3, 5), torch.zeros(3, 8))
    few, many = add(graph, aten.mm.default, x, narrow), add(graph, aten.mm.default, x, wide)
    mixed = add(graph, aten.softmax.int, many, 1)
    aligned = {wide: (narrow, wide), many: (few, many)}
    assert kinds_behind_sum(aligned, {x: "even", wide: "weight"}, 1)[many] == "grown"
    with pytest.raises(PartitionError, match="mixes what was spread"):
        kinds_behind_sum({**aligned, mixed: (mixed, mixed)}, {x: "even", wide: "weight"}, 1)
    with pytest.raises(PartitionError, match="grows along another dimension"):
        kinds_behind_sum(aligned, {x: "even", wide: "weight", many: "grown"}, 0)


def test_blocks_that_give_several_gradients_are_refused() -> None:
    like = Likeness({}, {}, None, (), {}, (), (("a",), ("b",)), None, ((Summand("c", 0, 2),),))
    with pytest.raises(PartitionError, match="read more of them than one gradient"):
        build_added(like, {}, {}, [1])


def test_blocks_without_weights_are_refused() -> None:
    like = Likeness({}, {}, None, (), {}, (), (("a", "b"),), None, ((Summand("c", 0, 2),), (Summand("c", 2, 4),)))
    with pytest.raises(PartitionError, match="have no weights"):
        build_added(like, {}, {"a": 4, "b": 4, "c": 4}, [1, 1])


def test_values_lie_beside_each_other_with_zeros_between_them() -> None:
    """Of two blocks, the second reads one entry of what the first gives, and both read one of another value."""

    class Doubled(nn.Module):
        def forward(self, count: int, sums: Tensor, missing: Tensor) -> tuple[Tensor]:
            return ((2 * sums).expand(count, 2).masked_fill(missing, 0),)

    class Nothing(nn.Module):
        def forward(self, missing: Tensor) -> tuple[Tensor, ...]:
            return (missing,)

    wiring = AddedWiring(
        weights=(),
        others=((0, Segment(0, 3)),),
        parts=(Segment(2, 1), Segment(1, 1)),
        places=(Segment(0, 2), Segment(0, 1)),
        own=Segment(0, 2),
        size=3,
        dim=0,
        results=((1, 2),),
        levels=(1, 2),
    )
    module = AlikeAdded(Nothing(), Doubled(), wiring, (torch.tensor([[False, False], [False, True]]),))
    values = [torch.tensor([1.0, 10.0, 100.0]), torch.zeros(2), torch.zeros(1)]
    progress = module.start(values)
    (first,) = progress.results = module.sweep(values, 1, progress)
    assert first.tolist() == [[200.0, 200.0], [20.0, 0.0]]
    assert [one.tolist() for one in module.parts(first, 0)] == [[200.0, 200.0], [20.0]]
    (second,) = module.sweep(values, 2, progress)
    assert second.tolist() == [[420.0, 0.0]]
    assert progress.final.tolist() == [200.0, 200.0]
