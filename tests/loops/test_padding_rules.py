"""A rule of padding gives the valid entries of a result from valid entries alone: all others are NaN here."""

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx

from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.builder import add_call
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.loops.growing.sizes import AffineSize
from fxsolve.loops.padding import products, reductions, scattered, windows
from fxsolve.loops.padding.values import Dims, NoRuleError, PaddedValue, Padder, plain
from fxsolve.ops.call import Call, bind
from tests.loops.small import numbers

aten = torch.ops.aten
N, WIDE, STEP = 4, 7, 1
SIZE = AffineSize(2, 1)  # so many rows are valid at each step
VALID = SIZE.at(STEP)
X, SQUARE, COLUMN = numbers(VALID, N), numbers(N, N), numbers(N)
Rule = Callable[[Padder, Call], PaddedValue | tuple[fx.Node, list[Dims]]]


def padded(rule: Rule, target: Any, *args: Any, x: Tensor = X, rows: int = 0) -> list[Tensor]:
    """What the rule makes of a call in whose arguments "x" stands for a tensor that grows along `rows`."""
    graph = fx.Graph()
    nothing = torch.nan if x.is_floating_point() else 99
    buffer = x.new_full([WIDE if k == rows else n for k, n in enumerate(x.shape)], nothing)
    buffer.narrow(rows, 0, VALID).copy_(x)
    valid, wide = (add_placeholder(graph, name, spec_of(one)) for name, one in (("valid", x), ("wide", buffer)))
    others = {id(one): add_placeholder(graph, "other", spec_of(one)) for one in args if isinstance(one, Tensor)}
    call = add_call(graph, target, tuple(_with(valid, others.get(id(arg), arg)) for arg in args))
    padder = Padder(graph, {SIZE.slope: WIDE}, STEP, call=call, sizes=(_sizes(call, rows),))
    dims = tuple((SIZE,) if k == rows else plain(n) for k, n in enumerate(x.shape))
    padder.values[valid] = STEP, PaddedValue(wide, dims)
    made = rule(padder, bind(target, call.args, call.kwargs, call.meta["spec"]))
    results = [made] if isinstance(made, PaddedValue) else _parts(graph, *made)
    graph.output(tuple(one.node for one in results))
    graph.erase_node(call)
    given = [arg for arg in args if isinstance(arg, Tensor)]
    found = fx.GraphModule({}, graph)(x, buffer, *given)
    return [_valid(one, result.dims) for one, result in zip(found, results, strict=True)]


def _with(x: Any, arg: Any) -> Any:
    """An argument with `x` for "x", also in a list."""
    if isinstance(arg, list):
        return [_with(x, one) for one in arg]
    return x if isinstance(arg, str) and arg == "x" else arg


def _sizes(call: fx.Node, rows: int) -> tuple[AffineSize, ...] | None:
    """Those of a result of the rank of what grows, which grows along the same dimension."""
    shape = getattr(call.meta["spec"], "shape", ())
    return tuple(AffineSize(n - STEP, 1) if k == rows else AffineSize(n, 0) for k, n in enumerate(shape)) or None


def _parts(graph: fx.Graph, made: fx.Node, dims: list[Dims]) -> list[PaddedValue]:
    return [PaddedValue(add_call(graph, operator.getitem, (made, k)), one) for k, one in enumerate(dims)]


def _valid(result: Tensor, dims: Dims) -> Tensor:
    for dim, factors in enumerate(dims):
        sizes = [one for one in factors if isinstance(one, AffineSize)]
        result = result.narrow(dim, 0, sizes[0].at(STEP)) if sizes else result
    return result


def same(rule: Rule, target: Any, *args: Any, x: Tensor = X, rows: int = 0) -> None:
    wanted = target(*(_with(x, arg) for arg in args))
    found = padded(rule, target, *args, x=x, rows=rows)
    torch.testing.assert_close(found, list(wanted) if isinstance(wanted, tuple) else [wanted])


@pytest.mark.parametrize(
    ("target", "args", "rows"),
    [
        (aten.mm.default, ("x", SQUARE), 0),
        (aten.mm.default, (SQUARE, "x"), 1),
        (aten.mv.default, ("x", COLUMN), 0),
        (aten.addmm.default, (COLUMN, "x", SQUARE), 0),
    ],
    ids=lambda one: str(one)[:24],
)
def test_products_of_rows(target: Any, args: tuple[Any, ...], rows: int) -> None:
    same(products.pad_product, target, *args, x=X.t().contiguous() if rows else X, rows=rows)


def test_a_contracted_dimension_must_grow_on_both_sides() -> None:
    with pytest.raises(NoRuleError, match="contracts dimensions that grow differently"):
        padded(products.pad_product, aten.mm.default, numbers(2, VALID), "x")


def test_what_is_added_must_grow_as_the_product_does() -> None:
    with pytest.raises(NoRuleError, match="broadcasts dimensions that grow differently"):
        padded(products.pad_product, aten.addmm.default, "x", numbers(VALID, N), SQUARE)


def test_a_table_that_grows_has_no_rule() -> None:
    with pytest.raises(NoRuleError, match="looks up in a table that grows"):
        padded(products.pad_look_up, aten.embedding.default, "x", torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("target", "args"),
    [
        (aten.sum.dim_IntList, ("x", [0])),
        (aten.sum.default, ("x",)),
        (aten.prod.dim_int, ("x", 0)),
        (aten.amax.default, ("x", [0], True)),
        (aten.amin.default, ("x", [0])),
        (aten.max.dim, ("x", 0)),
        (aten.argmax.default, ("x", 0)),
        (aten.mean.dim, ("x", [0])),
        (aten.mean.dim, ("x", [1])),
        (aten.linalg_vector_norm.default, ("x", 2, [0])),
    ],
    ids=lambda one: str(one)[:24],
)
def test_reductions_over_valid_entries(target: Any, args: tuple[Any, ...]) -> None:
    same(reductions.pad_reduced, target, *args)


@pytest.mark.parametrize("dim", [0, 1])
def test_softmax_and_sums_so_far(dim: int) -> None:
    same(reductions.pad_softmax, aten._softmax.default, "x", dim, False)
    same(reductions.pad_softmax, aten.logsumexp.default, "x", [dim])
    same(reductions.pad_cumulative, aten.cumsum.default, "x", dim)


LINE, KERNEL = numbers(1, N, VALID), numbers(2, N, 2)


@pytest.mark.parametrize("pads", [[2, 0], [0, 2], [1, 1], [1, -1], [2, 0, 1, 1]], ids=str)
def test_entries_added_at_the_ends(pads: list[int]) -> None:
    same(windows.pad_ends, aten.constant_pad_nd.default, "x", pads, 0.5, x=LINE, rows=2)


@pytest.mark.parametrize(("padding", "dilation"), [(0, 1), (1, 1), (2, 2)])
def test_windows_of_valid_entries(padding: int, dilation: int) -> None:
    given = (KERNEL, numbers(2), [1], [padding], [dilation], False, [0], 1)
    same(windows.pad_convolution, aten.convolution.default, "x", *given, x=LINE, rows=2)


def test_windows_at_every_second_entry_have_no_rule() -> None:
    given = (KERNEL, None, [2], [1], [1], False, [0], 1)
    with pytest.raises(NoRuleError, match="takes a growing dimension in strides"):
        padded(windows.pad_convolution, aten.convolution.default, "x", *given, x=LINE, rows=2)
    given = (KERNEL, None, [1], [1], [1], False, [0], 1)
    with pytest.raises(NoRuleError, match="convolves channels or samples that grow"):
        padded(windows.pad_convolution, aten.convolution.default, "x", *given, x=LINE.mT.contiguous().mT, rows=0)


def test_each_row_is_normalised_alone() -> None:
    same(reductions.pad_layer_norm, aten.native_layer_norm.default, "x", [N], None, None, 1e-5)
    with pytest.raises(NoRuleError, match="normalises over a growing dimension"):
        padded(reductions.pad_layer_norm, aten.native_layer_norm.default, "x", [VALID, N], None, None, 1e-5)


WORDS, LOGITS = torch.tensor([2, 0, 2]), torch.tensor([5, 1, 4, 3])


@pytest.mark.parametrize(
    ("target", "values"),
    [
        (aten.scatter.src, ("x",)),
        (aten.scatter.value, (7,)),
        (aten.scatter_add.default, ("x",)),
        (aten.scatter_reduce.two, ("x", "prod")),
    ],
    ids=str,
)
def test_what_is_written_at_valid_places(target: Any, values: tuple[Any, ...]) -> None:
    same(scattered.pad_scattered, target, LOGITS, 0, "x", *values, x=WORDS)
    rows = torch.stack([WORDS, WORDS.flip(0)], 1)
    same(scattered.pad_scattered, target, LOGITS[:, None].expand(N, 2).contiguous(), 0, "x", *values, x=rows)


@pytest.mark.parametrize("accumulate", [False, True])
def test_what_is_put_at_valid_places_that_may_count_from_the_end(accumulate: bool) -> None:
    same(scattered.pad_put, aten.index_put.default, LOGITS, ["x"], torch.tensor(7), accumulate, x=WORDS)
    same(scattered.pad_put, aten.index_put.default, LOGITS, ["x"], "x", accumulate, x=-1 - WORDS)


def test_places_of_several_dimensions_and_values_of_other_sizes_have_no_rule() -> None:
    square = LOGITS[:, None].expand(N, N).contiguous()
    with pytest.raises(NoRuleError, match="writes at places of several dimensions"):
        padded(scattered.pad_put, aten.index_put.default, square, ["x", "x"], torch.tensor(7), x=WORDS)
    with pytest.raises(NoRuleError, match="writes values that grow in another way than their places"):
        padded(scattered.pad_scattered, aten.scatter.src, LOGITS, 0, WORDS, "x", x=WORDS)


def test_what_changes_nothing_is_written_in_the_type_of_the_entries() -> None:
    assert reductions.in_type(-torch.inf, torch.float32) == -torch.inf
    assert reductions.in_type(-torch.inf, torch.int8) == -128
    assert reductions.in_type(torch.inf, torch.uint8) == 255
    assert (reductions.in_type(1, torch.bool), reductions.in_type(0, torch.bool)) == (True, False)


def test_a_place_among_all_entries_is_not_told() -> None:
    with pytest.raises(NoRuleError, match="counts through a growing dimension"):
        padded(reductions.pad_reduced, aten.argmax.default, "x")
