"""The parts of which blocks that are alike are swept: what each call is made of, how weights lie, and the sums."""

from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

import fxsolve
from fxsolve.errors import PartitionError
from fxsolve.ir.spec import Block
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.lower.alike.build import build_alike
from fxsolve.lower.alike.find import find_alike
from fxsolve.lower.alike.fold import fold
from fxsolve.lower.alike.kinds import call_of, contracted, kinds_of
from fxsolve.lower.alike.layouts import SumOver, beside
from fxsolve.lower.alike.match import calls_in_order, match
from fxsolve.lower.alike.traced import traced, traced_for_any
from fxsolve.solvers.alike import ChannelSum, PatchSum, Progress

aten = torch.ops.aten


class Dense(nn.Module):
    """y_k = tanh(W_k [x, y_<k]): every layer reads all before it."""

    def __init__(self, layers: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(5 + 3 * k, 3) for k in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for layer in self.layers:
            seen.append(layer(torch.cat(seen, 1)).tanh())
        return torch.cat(seen, 1)


@torch.no_grad()
def blocks_of(model: nn.Module, x: Tensor) -> list[Block]:
    system = fxsolve.partition(fxsolve.capture(model.eval(), x)).system
    return [one for one in system.equations if isinstance(one, Block)]


def dense() -> tuple[list[Block], set[str], set[str]]:
    """The layers that read others, the names that others read, and all that are made."""
    every = blocks_of(Dense(), torch.randn(2, 5))
    made = {name for block in every for name in block.outputs}
    return [one for one in every if "layers" in one.name][1:], {n for b in every for n in b.inputs} & made, made


def test_layers_of_one_kind_match_call_by_call() -> None:
    blocks, read, made = dense()
    like = match(blocks, read, made)
    assert like.dim == 1
    assert [len(row) for row in like.pieces] == [2, 3, 4]
    assert all(len(nodes) == 3 for nodes in like.aligned.values())
    assert {like.kinds[node] for node in like.outputs} == {"even"}
    assert like.kinds[like.join] == "grown"  # pyright: ignore[reportArgumentType]
    weights = {name for node, names in like.names.items() for name in names if like.kinds[node] == "weight"}
    assert weights
    assert weights.isdisjoint(made)


def test_the_module_of_them_knows_the_width_and_the_level_of_each_piece() -> None:
    blocks, read, made = dense()
    like = match(blocks, read, made)
    number = {name: k for k, name in enumerate(dict.fromkeys(n for b in blocks for n in (*b.inputs, *b.outputs)))}
    level = {name: k + 2 for k, block in enumerate(blocks) for name in block.outputs}
    wiring = build_alike(like, number, level, [2, 3, 4]).wiring
    assert sorted(wiring.widths) == [3, 3, 3, 5]
    assert list(wiring.piece_levels) == sorted(wiring.piece_levels)
    assert wiring.levels == (2, 3, 4)


def test_layers_whose_values_depend_on_no_other_are_not_swept_at_once() -> None:
    """They are made of weights alone: there is nothing to sweep."""
    graph, (weight, x) = nodes(torch.zeros(4, 3), torch.zeros(2, 4))
    made = add(graph, aten.tanh.default, add(graph, aten.mm.default, x, weight))
    graph.output((made,))
    body = fx.GraphModule(nn.Module(), graph)
    rows = [[Block(f"block{k}", body, (f"w{k}", "x"), (f"y{k}",))] for k in range(2)]
    rows.append([Block("last", body, ("y1", "y0"), ("z",))])
    found = find_alike(rows, {"x": 0, "w0": 1, "w1": 2, "y0": 3, "y1": 4, "z": 5}, (1, 1, 2))
    assert not found.together
    with pytest.raises(PartitionError, match="is no result of a sum over what they join"):
        match([row[0] for row in rows[:2]], {"y0", "y1"}, {"y0", "y1", "z"})


def test_layers_that_differ_say_in_what() -> None:
    class Mixed(Dense):
        def forward(self, x: Tensor) -> Tensor:
            seen = [x]
            for k, layer in enumerate(self.layers):
                made = layer(torch.cat(seen, 1))
                seen.append(made.tanh() if k % 2 else made.sin())
            return torch.cat(seen, 1)

    blocks = blocks_of(Mixed(), torch.randn(2, 5))
    rows = [[one] for one in blocks]
    number = {name: k for k, name in enumerate(dict.fromkeys(n for b in blocks for n in (*b.inputs, *b.outputs)))}
    found = find_alike(rows, number, list(range(1, len(rows) + 1)))
    assert all(len({calls_in_order(rows[k][0])[-1].target for k in group}) == 1 for group, _ in found.together)


def graph_of(module: nn.Module, *inputs: Tensor) -> fx.Graph:
    (block,) = blocks_of(module, *inputs)
    return block.body.graph


def test_a_norm_by_fixed_statistics_is_a_scale_and_a_shift() -> None:
    norm = nn.BatchNorm2d(3).eval()
    for one in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
        nn.init.uniform_(one, 0.5, 2.0)  # pyright: ignore[reportArgumentType]
    x = torch.randn(2, 3, 4, 4)
    (block,) = blocks_of(norm, x)
    folded = fold(block.body.graph)
    assert aten.addcmul.default in {node.target for node in folded.nodes}
    assert not any("batch_norm" in str(node.target) for node in folded.nodes)
    known = {**dict(norm.named_parameters()), **dict(norm.named_buffers())}
    given = [x if name.startswith("input") else known[name] for name in block.inputs]
    with torch.no_grad():
        torch.testing.assert_close(fx.GraphModule({}, folded)(*given)[0], norm(x))


def nodes(*examples: Tensor) -> tuple[fx.Graph, list[fx.Node]]:
    graph = fx.Graph()
    made = [graph.placeholder(f"x{k}") for k in range(len(examples))]
    for node, example in zip(made, examples, strict=True):
        node.meta["spec"] = spec_of(example)
    return graph, made


def add(graph: fx.Graph, target: Any, *args: Any) -> fx.Node:
    node = graph.call_function(target, args)
    node.meta["spec"] = spec_of(target(*fx.map_arg(args, lambda one: torch.zeros(one.meta["spec"].shape))))
    return node


def test_what_holds_a_list_is_grown_until_weights_sum_over_it() -> None:
    graph, (x, weight) = nodes(torch.zeros(2, 5), torch.zeros(5, 3))
    active, turned = add(graph, aten.tanh.default, x), add(graph, aten.neg.default, weight)
    summed = add(graph, aten.mm.default, active, turned)
    aligned = {node: (node, node) for node in (x, weight, active, turned, summed)}
    kinds = kinds_of(aligned, {x: "grown", weight: "weight"}, 1)
    assert [kinds[node] for node in (active, turned, summed)] == ["grown", "weight", "even"]
    call = call_of(summed)
    assert call is not None
    assert contracted(call, 1) == (active, turned, None)
    assert contracted(call, 0) is None


def test_what_mixes_the_list_otherwise_is_refused() -> None:
    graph, (x,) = nodes(torch.zeros(2, 5))
    mixed = add(graph, aten.cumsum.default, x, 1)
    with pytest.raises(PartitionError, match="mixes what is joined, other than by weights"):
        kinds_of({x: (x,), mixed: (mixed,)}, {x: "grown"}, 1)


def test_operands_lie_beside_features_and_are_zero_where_a_block_has_none() -> None:
    lay_out, valid = beside(1, 4), torch.tensor([[True, False], [True, True]])
    laid = lay_out(torch.ones(2, 2, 1, 1), valid)
    assert laid.shape == (2, 2, 1, 1, 1)  # (L, W, ...), for features (L, W, B, H, W)
    assert laid.flatten().tolist() == [1.0, 0.0, 1.0, 1.0]


def test_a_convolution_of_one_place_is_a_product_and_others_look_at_windows() -> None:
    for size, padding, kind in ((1, 0, ChannelSum), (3, 1, PatchSum)):
        graph, (x, w) = nodes(torch.zeros(2, 5, 4, 4), torch.zeros(6, 5, size, size))
        args = (x, w, None, [1, 1], [padding] * 2, [1, 1], False, [0, 0], 1)
        one = SumOver(add(graph, aten.convolution.default, *args), 1)
        assert isinstance(one.method, kind)
        assert one.lay_out_weight(torch.ones(3, 6, 5, size, size), None).shape[:3] == (3, 6, 5)


@pytest.mark.parametrize("shared", [True, False])
def test_sums_over_channels_are_those_of_each_block(shared: bool) -> None:
    weight, features = torch.randn(3, 6, 5), torch.randn(1 if shared else 3, 5, 2, 4)
    found = ChannelSum()(torch.zeros(3, 6, 1), weight, features)
    wanted = torch.stack([torch.einsum("ow,wbs->obs", w, features[0 if shared else k]) for k, w in enumerate(weight)])
    torch.testing.assert_close(found, wanted.flatten(2))
    assert ChannelSum().shaped(found, tuple(features.shape), 1).shape == (3, 2, 6, 4)


@pytest.mark.parametrize("shared", [True, False])
def test_sums_over_windows_are_the_convolutions_of_each_block(shared: bool) -> None:
    weight, features = torch.randn(3, 6, 5, 3, 3), torch.randn(1 if shared else 3, 5, 2, 8, 8)
    found = PatchSum((1, 1), (1, 1), (1, 1))(torch.zeros(3, 1, 6, 1, 1), weight, features)
    images = features.movedim(2, 1)
    wanted = torch.stack([F.conv2d(images[0 if shared else k], w, padding=1) for k, w in enumerate(weight)])
    torch.testing.assert_close(found, wanted)


def test_blocks_that_are_final_are_forgotten() -> None:
    progress = Progress([torch.arange(4)], [torch.arange(4)], results=[torch.arange(4)])
    progress.drop_before(1)
    progress.drop_before(3)
    assert [one.tolist() for one in (*progress.prepared, *progress.sums, *progress.results)] == [[3], [3], [3]]


def test_a_function_is_traced_for_any_number_of_blocks() -> None:
    module = traced_for_any(lambda x: (x.flatten(0, 1).tanh(),), lambda count: [spec_of(torch.zeros(count, 2, 3))])
    for count in (1, 4, 9):
        x = torch.randn(count, 2, 3)
        assert torch.equal(module(count, x)[0], x.flatten(0, 1).tanh())


def test_one_that_depends_on_their_number_otherwise_is_refused() -> None:
    def uneven(x: Tensor) -> tuple[Tensor, ...]:
        return (x * len(x) ** 2,)

    with pytest.raises(PartitionError, match="in another way for each number of them"):
        traced_for_any(uneven, lambda count: [spec_of(torch.zeros(count, 2))])
    assert traced(uneven, [spec_of(torch.zeros(3, 2))])(torch.ones(3, 2))[0].tolist() == [[9.0, 9.0]] * 3
