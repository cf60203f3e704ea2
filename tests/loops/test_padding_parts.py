"""What is known of values on buffers: masks, entries that do no harm, canvases, and what fills the rest."""

from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.builder import add_call
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.loops.growing.sizes import AffineSize, find_growing, rank_and_dtype
from fxsolve.loops.padding.canvases import Copies, copy_canvas, find_canvases
from fxsolve.loops.padding.harmless import makes_harmless
from fxsolve.loops.padding.known import Attributes, KnownValues
from fxsolve.loops.padding.triangles import above_diagonal, hides_above, is_square, takes_valid
from fxsolve.loops.padding.values import PaddedValue, Padder
from fxsolve.loops.padding.widened import widened
from fxsolve.loops.rolling.signature import read_calls
from fxsolve.ops.call import bind
from fxsolve.stages import capture
from fxsolve.torch_compat.graphs import Graph
from tests.loops.test_canvases import FIRST, T, columns, rows

aten = torch.ops.aten
N = 5
SIZE = AffineSize(2, 1)
SQUARE = ((SIZE,), (SIZE,))


def attribute(graph: fx.Graph, name: str, value: Tensor) -> fx.Node:
    node = graph.create_node("get_attr", name)
    node.meta["spec"] = spec_of(value)
    return node


def placeholder(graph: fx.Graph, name: str, value: Tensor) -> fx.Node:
    node = graph.placeholder(name)
    node.meta["spec"] = spec_of(value)
    return node


def test_what_is_made_of_constants_is_known_and_rests_on_them() -> None:
    graph, mask = Graph(), torch.ones(N, N).triu(1).bool()
    x, known = placeholder(graph, "x", torch.zeros(N)), attribute(graph, "mask", mask)
    other, more = add_call(graph, aten.logical_not.default, (known,)), add_call(graph, aten.exp.default, (x,))
    drawn = add_call(graph, aten.rand_like.default, (known,), {"dtype": torch.float32})
    attributes = Attributes({"mask": mask})
    values = KnownValues(graph, attributes)
    assert values.of(x) is values.of(more) is values.of(drawn) is None
    assert attributes.rested == set()
    assert torch.equal(values.of(other), ~mask)  # pyright: ignore[reportArgumentType]
    assert attributes.rested == {"mask"}


def is_triangle(value: Tensor) -> bool:
    return torch.equal(value, torch.ones_like(value).triu(1))


@pytest.mark.parametrize(("wide", "bound"), [(torch.ones(N, N).triu(1), set()), (torch.ones(N, N), {"mask"})])
def test_what_holds_of_a_part_holds_of_others_where_it_does_so_of_the_whole(wide: Tensor, bound: set[str]) -> None:
    graph, mask = Graph(), wide.clone()
    mask[:3, :3] = torch.ones(3, 3).triu(1)
    known = attribute(graph, "mask", mask[None])
    rows = add_call(graph, aten.slice.Tensor, (known, 1, 0, 3))
    part = add_call(graph, aten.mul.Tensor, (add_call(graph, aten.slice.Tensor, (rows, 2, None, 3)), 1.0))
    attributes = Attributes({"mask": mask[None]})
    values = KnownValues(graph, attributes)
    assert values.holds(part, lambda value: is_triangle(value[0]))
    assert (attributes.rested, attributes.bound) == ({"mask"}, bound)
    assert not values.holds(part, lambda value: bool(value.all()))


def test_a_value_that_is_cut_is_bound_to_its_size_and_one_that_is_not_is_none() -> None:
    graph, numbers = Graph(), torch.arange(N)
    known = attribute(graph, "numbers", numbers)
    attributes = Attributes({"numbers": numbers})
    values = KnownValues(graph, attributes)
    values.of(add_call(graph, aten.neg.default, (known,)))
    assert attributes.bound == set()
    for start, stop in ((0, 3), (1, N)):
        attributes.bound.clear()
        part = add_call(graph, aten.slice.Tensor, (known, 0, start, stop))
        values.note(part)
        values.of(part)
        assert attributes.bound == {"numbers"}


@pytest.mark.parametrize("call", [(aten.ones_like.default, ()), (aten.full_like.default, (2.0,))])
def test_a_constant_in_the_form_of_a_value_is_known_where_that_is_not(call: tuple[Any, tuple[float, ...]]) -> None:
    graph = Graph()
    x = placeholder(graph, "x", torch.zeros(N, N))
    made = add_call(graph, call[0], (x, *call[1]))
    row = add_call(graph, aten.new_full.default, (x, [2], 3.0))
    same = add_call(graph, aten.fill.Tensor, (x, add_call(graph, aten.sum.default, (x,))))
    values = KnownValues(graph, Attributes())
    assert torch.equal(values.of(made), torch.full((N, N), *call[1] or (1.0,)))  # pyright: ignore[reportArgumentType]
    assert torch.equal(values.of(row), torch.tensor([3.0, 3.0]))  # pyright: ignore[reportArgumentType]
    assert x not in values
    assert same not in values


def test_equal_calls_of_what_is_known_are_computed_once() -> None:
    graph, mask = Graph(), torch.ones(N)
    known = attribute(graph, "mask", mask)
    one, two = (add_call(graph, aten.neg.default, (known,)) for _ in range(2))
    values = KnownValues(graph, Attributes({"mask": mask}))
    assert values.of(one) is values.of(two)


@pytest.mark.parametrize(
    ("value", "widths", "wanted"),
    [
        (torch.tensor([1.0, 2.0]), (4,), [1.0, 2.0, 0.0, 0.0]),
        (torch.tensor([3, 4]), (4,), [3, 4, 4, 4]),
        (torch.tensor([[3], [4]]), (2, 3), [[3, 3, 3], [4, 4, 4]]),
        (torch.tensor([[3]]), (2, 2), [[3, 0], [0, 0]]),
    ],
)
def test_behind_the_first_entries_stand_zeros_or_the_last_integer_again(
    value: Tensor, widths: Any, wanted: Any
) -> None:
    graph = Graph()
    x = placeholder(graph, "x", value)
    graph.output((widened(graph, x, widths, x),))
    assert fx.GraphModule({}, graph)(value)[0].tolist() == wanted


def padder(mask: Tensor, dims=SQUARE) -> tuple[Padder, fx.Node, fx.Node]:
    """Scores that grow in both dimensions, and a mask of constants as large as the buffer."""
    graph = Graph()
    scores, known = placeholder(graph, "scores", torch.zeros(N, N)), attribute(graph, "mask", mask)
    made = Padder(graph, {1: N}, attributes=Attributes({"mask": mask}))
    made.values[scores] = 0, PaddedValue(scores, dims, harmless=True)
    made.values[known] = 0, PaddedValue(known, dims, harmless=True)
    return made, scores, known


TRIANGLE = torch.ones(N, N).triu(1).bool()
HIDING = [
    (TRIANGLE, True, True),
    (TRIANGLE, False, False),
    (~TRIANGLE, False, True),
    (torch.ones(N, N).triu().bool(), True, False),  # hides the diagonal
    (torch.zeros(N, N).masked_fill(TRIANGLE, -inf), True, True),
    (torch.zeros(N, N).masked_fill(TRIANGLE, -1e9), True, True),
    (torch.zeros(N, N).masked_fill(TRIANGLE, -1.0), True, False),
    (torch.zeros(N, N).masked_fill(TRIANGLE, -inf).fill_diagonal_(inf), True, False),
]


@pytest.mark.parametrize(("mask", "hidden", "wanted"), HIDING)
def test_a_mask_hides_all_above_the_diagonal_and_nothing_on_it(mask: Tensor, hidden: bool, wanted: bool) -> None:
    made, scores, known = padder(mask)
    assert hides_above(made, known, hidden) == wanted
    assert not hides_above(made, scores)  # of which nothing is known


def above(made: Padder, target: Any, *args: Any, **options: Any) -> float | None:
    call = bind(target, args, options, None)
    return above_diagonal(made, call, SQUARE)


def test_scores_that_are_hidden_are_low_and_their_softmax_is_zero() -> None:
    made, scores, known = padder(TRIANGLE)
    assert above(made, aten.masked_fill.Scalar, scores, known, -inf) == -inf
    assert above(made, aten.masked_fill.Scalar, scores, known, -1.0) is None
    made.values[scores] = 0, PaddedValue(scores, SQUARE, True, -inf)
    assert above(made, aten._softmax.default, scores, 1, False) == 0.0
    assert above(made, aten._softmax.default, scores, 0, False) is None
    assert above(made, aten.mul.Tensor, scores, 2.0) == -inf
    assert above(made, aten.mul.Tensor, scores, 0.5) is None  # what is low need not be so any more


def test_products_with_such_weights_take_nothing_that_is_not_valid() -> None:
    _, scores, _ = padder(TRIANGLE)
    weights, values = PaddedValue(scores, SQUARE, True, 0.0), PaddedValue(scores, ((SIZE,), (3,)), True)
    assert is_square(SQUARE)
    assert not is_square(((SIZE,), (AffineSize(2, 2),)))
    assert takes_valid(weights, values)
    assert not takes_valid(weights, PaddedValue(scores, ((SIZE,), (3,)), False))
    assert not takes_valid(PaddedValue(scores, SQUARE, True), values)


def harmless(target: Any, *args: Any, is_harmless: bool = True) -> bool:
    made, scores, _ = padder(TRIANGLE)
    made.values[scores] = 0, PaddedValue(scores, SQUARE, is_harmless)
    call = made.graph.call_function(target, (scores, *args))
    made.call = call
    return makes_harmless(made, bind(target, (scores, *args), {}, spec_of(torch.zeros(N, N))))


def test_finite_functions_of_harmless_numbers_are_harmless() -> None:
    assert harmless(aten.tanh.default)
    assert not harmless(aten.tanh.default, is_harmless=False)
    assert not harmless(aten.log.default)  # of zero
    assert not harmless(aten.mul.Tensor, inf)


def growing(program: Any, first: Tensor = FIRST):
    with torch.no_grad():
        module = capture(program, first).module
    calls = read_calls(module.graph, describe=rank_and_dtype)
    (loop,), _ = find_growing(calls)
    return module.graph, calls, loop


@pytest.mark.parametrize(("program", "dim"), [(columns, 1), (rows, 0)])
def test_a_canvas_is_what_steps_read_as_far_as_it_is_filled(program: Any, dim: int) -> None:
    _, calls, loop = growing(program)
    (canvas,) = find_canvases(calls, loop)
    assert canvas.dim == dim
    assert canvas.root.meta["spec"].shape[dim] == T
    assert len(canvas.reads) % loop.window.trips == 0
    assert len(canvas.places) == 1


def test_its_copy_begins_with_what_is_valid() -> None:
    graph, calls, loop = growing(columns)
    (canvas,) = find_canvases(calls, loop)
    made = Padder(graph, {1: T})
    first = calls.nodes[loop.window.start]
    copies = copy_canvas(made, canvas, first, first)
    assert isinstance(copies, Copies)
    copy = copies.latest[canvas.root]
    assert copy.meta["spec"].shape == canvas.root.meta["spec"].shape
    cut = next(node for node in made.made if node.target is aten.slice.Tensor)
    assert cut.args == (canvas.root, canvas.dim, 0, canvas.filled)
    read = next(iter(node for node in canvas.reads if node.all_input_nodes[0] is canvas.root), None)
    if read is not None:
        copies.note(made, 0, read)
        assert made.copies[read] is copy


def test_what_is_read_before_it_is_written_is_no_canvas() -> None:
    def ahead(first: Tensor) -> Tensor:
        x = torch.zeros(len(first), T)
        x[:, 0] = first
        for t in range(1, T - 1):
            x[:, t] = torch.tanh(x[:, : t + 2]).cumsum(1)[:, -1] + x[:, : t + 2].exp().amax(1)
        return x

    _, calls, loop = growing(ahead, FIRST.float())
    assert find_canvases(calls, loop) == []
