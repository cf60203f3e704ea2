"""What a call writes into, from its schema, is what it changes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fxsolve.capture.record.mutated import mutated_tensors
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten


def fresh(*shape: int) -> Tensor:
    return torch.rand(shape)


def batch_norm(x: Tensor, mean: Tensor, var: Tensor) -> tuple[Any, ...]:
    return x, None, None, mean, var, True, 0.1, 1e-5


def moving_average(x: Tensor, on: Tensor, *state: Tensor) -> tuple[Any, ...]:
    return x, on, on, *state, torch.full((1,), 99).int(), 0.1, 0, 255, -1


CALLS: dict[str, tuple[OpOverload, tuple[Any, ...], dict[str, Any]]] = {
    "nothing": (aten.add.Tensor, (fresh(2), fresh(2)), {}),
    "in place": (aten.add_.Tensor, (fresh(2), fresh(2)), {"alpha": 2}),
    "in place by name": (aten.add_.Tensor, (), {"self": fresh(2), "other": fresh(2)}),
    "out": (aten.add.out, (fresh(2), fresh(2)), {"out": fresh(2)}),
    "several out": (aten.max.dim_max, (fresh(2, 2), 1), {"max": fresh(2), "max_values": 5 + fresh(2).long()}),
    "a list": (aten._foreach_add_.Scalar, ([fresh(2), fresh(3)], 1), {}),
    "one of two lists": (aten._foreach_add_.List, ([fresh(2), fresh(3)], [fresh(2), fresh(3)]), {}),
    "statistics": (aten._native_batch_norm_legit.default, batch_norm(fresh(2, 3), fresh(3), fresh(3)), {}),
    "four of many": (
        aten._fused_moving_avg_obs_fq_helper.default,
        moving_average(fresh(2), torch.ones(1).long(), *(5 + fresh(1) for _ in range(3))),
        {},
    ),
    "at an index": (aten.index_put_.default, (fresh(3), [torch.tensor([1])], fresh(1)), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_written_tensors_are_those_whose_values_change(name: str) -> None:
    function, args, kwargs = CALLS[name]
    given = [one for one in pytree.tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    before = [one.clone() for one in given]
    found = {id(one) for one in mutated_tensors(function, args, kwargs)}
    function(*args, **kwargs)
    changed = {id(one) for one, old in zip(given, before, strict=True) if not torch.equal(one, old)}
    assert changed == found
    assert bool(found) == (name != "nothing")


def test_tensors_come_in_the_order_of_the_arguments() -> None:
    x, y = fresh(2), fresh(3)
    one, two = mutated_tensors(aten._foreach_neg_.default, ([x, y],), {})
    assert (one is x, two is y) == (True, True)
