"""Every operator that the table of facts knows can be computed for many steps at once, but for those listed here."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

import fxsolve
from fxsolve.lower.attention import is_folded
from fxsolve.lower.decompose import parts_of
from fxsolve.lower.trace import check_rules
from fxsolve.ops.facts import FACTS
from fxsolve.torch_compat.operators import OpOverload, has_batching_rule, has_kernel, schema_of
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten
# Products whose result has another dtype; a result of unknown size.
UNKNOWN = {
    "aten.bmm.dtype",
    "aten.mm.dtype",
    "aten.repeat_interleave.Tensor",
    "aten._neg_view.default",  # of the imaginary part of a conjugate, which is read as numbers before it is recorded
}
X, Y = torch.randn(3, 4), torch.randn(3, 4)
CALLS: list[tuple[OpOverload, tuple[Any, ...]]] = [
    (aten.fill.Scalar, (X, 2.0)),
    (aten.fill.Tensor, (X, torch.tensor(2.0))),
    (aten.copy.default, (X, torch.randn(4))),
    (aten.lift_fresh_copy.default, (X,)),
    (aten.masked_fill.Tensor, (X, Y > 0, torch.tensor(3.0))),
    (aten.renorm.default, (X, 2, 0, 1.0)),
    (aten.take.default, (X, torch.tensor([1, 5]))),
    (aten.isin.Tensor_Tensor, (X.round(), Y.round())),
    (aten.unsafe_split_with_sizes.default, (X, [1, 2])),
    (aten._native_batch_norm_legit_no_training.default, (X, None, None, Y[0], Y[1].exp(), 0.1, 1e-5)),
]


def functional_overloads(name: str) -> Iterator[OpOverload]:
    """Those that return new tensors, and take others; an overload that only scripts call has no kernels."""
    packet, existing = getattr(aten, name), set(torch._C._dispatch_get_all_op_names())  # pyright: ignore
    for op in (getattr(packet, overload) for overload in packet.overloads()):
        schema = schema_of(op)
        named = any(argument.name in ("names", "out") or "name" in str(argument.type) for argument in schema.arguments)
        takes = any("Tensor" in str(argument.type) for argument in schema.arguments)
        if takes and not named and not schema.is_mutable and op.name() in existing:
            yield op


def is_batched(op: OpOverload) -> bool:
    is_composite = has_kernel(op.name(), "CompositeImplicitAutograd")
    return has_batching_rule(op) or is_composite or is_folded(op) or parts_of(op) is not None


def test_every_operator_of_the_table_is_batched() -> None:
    names = {name.partition(".")[0] for name in FACTS}
    missing = {str(op) for name in names for op in functional_overloads(name) if not is_batched(op)}
    assert missing == UNKNOWN


class Filled(nn.Module):
    """What is filled depends on the step."""

    def forward(self, x: Tensor) -> Tensor:
        h, states = torch.zeros_like(x[0]), []
        for x_t in x:
            blank = torch.tanh(x_t)
            blank.fill_(0.5)
            h = torch.tanh(0.3 * h + x_t * blank)
            states.append(h)
        return torch.stack(states)


def test_a_loop_with_such_calls_is_swept() -> None:
    x = torch.randn(40, 3)
    fast = fxsolve.compile(Filled(), schedule="jacobi", backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(fast(x), Filled()(x))
    assert "jacobi(loop0" in str(fast.schedule), str(fast.schedule)


@pytest.mark.parametrize(
    ("written", "width"), [((-3, -1), 2), ((1, 2**63 - 1), 3), ((2, 9), 2), ((None, -1), 3)], ids=str
)
def test_writes_into_slices_are_swept_whatever_their_ends(written: tuple[int, int], width: int) -> None:
    def run(x: Tensor) -> Tensor:
        h, states = torch.zeros_like(x[0]), []
        for x_t in x:
            h = torch.tanh(0.3 * h + x_t)
            h[:, slice(*written)] = torch.sin(h[:, :width])
            states.append(h)
        return torch.stack(states)

    x = torch.randn(20, 3, 4)
    with torch.no_grad():
        fast = fxsolve.compile(run, (x,), schedule="jacobi", backend="eager")
        torch.testing.assert_close(fast(x), run(x))
    assert "jacobi(loop0" in str(fast.schedule), str(fast.schedule)


def labelled(x: Tensor, labels: Tensor) -> Tensor:
    """Its loss says what the next step starts from."""
    h = torch.zeros_like(x[0])
    for x_t, labels_t in zip(x, labels, strict=True):
        h = torch.tanh(0.3 * h + x_t + functional.multilabel_margin_loss(h, labels_t))
    return h


def test_parts_that_are_wrong_for_some_values_stand_for_nothing() -> None:
    x, labels = torch.randn(20, 3, 4), torch.arange(4).repeat(20, 3, 1)
    fast = fxsolve.compile(labelled, (x, labels), schedule="jacobi", backend="eager")
    labels[:, :, 1:3] = -1
    torch.testing.assert_close(fast(x, labels), labelled(x, labels))


@pytest.mark.parametrize(("op", "args"), CALLS, ids=lambda value: str(value) if isinstance(value, OpOverload) else "")
def test_parts_compute_the_same_and_have_rules(op: OpOverload, args: tuple[Any, ...]) -> None:
    parts = parts_of(op)
    assert parts is not None
    assert not has_batching_rule(op)
    expected, found = op(*args), parts(*args)
    for a, b in zip(leaves(found), leaves(expected), strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad(), FakeTensorMode() as mode:
        fakes = [mode.from_tensor(x) for x in leaves(args)]
        check_rules(lambda *tensors: parts(*replaced(args, tensors)), fakes, [False] * len(fakes))


def leaves(value: Any) -> list[Tensor]:
    return [x for x in pytree.tree_leaves(value) if isinstance(x, Tensor)]


def replaced(args: tuple[Any, ...], tensors: tuple[Tensor, ...]) -> list[Any]:
    given = iter(tensors)
    return [next(given) if isinstance(one, Tensor) else one for one in args]
