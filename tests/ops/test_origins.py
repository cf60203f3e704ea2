"""Every entry of a result is an entry of its origins, or zero; what is computed has none."""

import pytest
import torch

from fxsolve.ops.call import bind
from fxsolve.ops.origins import origins

aten = torch.ops.aten
X, Y = torch.arange(1.0, 7.0).reshape(2, 3), torch.arange(10.0, 16.0).reshape(2, 3)
INDEX = torch.tensor([[0, 1, 0], [1, 0, 1]])

MOVES = [
    (aten.permute.default, (X, [1, 0]), ("self",)),
    (aten.view.default, (X, [6]), ("self",)),
    (aten.tril.default, (X,), ("self",)),
    (aten.index_select.default, (X, 0, INDEX[0]), ("self",)),
    (aten.gather.default, (X, 0, INDEX), ("self",)),
    (aten.constant_pad_nd.default, (X, [1, 1], 9.0), ("self", "value")),
    (aten.where.self, (X > 2, X, Y), ("self", "other")),
    (aten.cat.default, ([X, Y],), ("tensors",)),
    (aten.embedding.default, (X, INDEX[0]), ("weight",)),
    (aten.select_scatter.default, (X, Y[0], 0, 1), ("self", "src")),
    (aten.scatter.src, (X, 0, INDEX, Y), ("self", "src")),
    (aten.scatter.value, (X, 0, INDEX, 9.0), ("self", "value")),
    (aten.index_put.default, (X, [INDEX[0, :2]], Y, False), ("self", "values")),
]


@pytest.mark.parametrize(("target", "args", "names"), MOVES, ids=lambda one: str(one)[:40])
def test_entries_of_results_are_entries_of_their_origins_or_zero(target, args, names) -> None:
    call = bind(target, args, {}, None)
    assert origins(call) == names
    given = torch.utils._pytree.tree_leaves([call[name] for name in names])
    there = {0.0}.union(*(torch.as_tensor(one).flatten().tolist() for one in given))
    assert set(target(*args).flatten().tolist()) <= there


@pytest.mark.parametrize(
    ("target", "args"),
    [
        (aten.add.Tensor, (X, Y)),
        (aten.mm.default, (X, Y.t())),
        (aten.sum.default, (X,)),
        (aten.index_put.default, (X, [INDEX[0, :2]], Y, True)),
        (aten.scatter.reduce, (X, 0, INDEX, Y)),
    ],
    ids=lambda one: str(one)[:40],
)
def test_what_is_computed_has_no_origin(target, args) -> None:
    assert origins(bind(target, args, {"reduce": "add"} if "reduce" in str(target) else {}, None)) == ()
