"""What is known of an entry goes where the entry goes."""

import pytest
import torch
from torch import Tensor

from fxsolve.ops.domains import moves
from fxsolve.ops.domains.entries import NEVER, Entries, entries
from tests.ops.labels import HIDDEN, aten, call, steps

X = Entries(torch.arange(6).reshape(2, 3), torch.arange(6).reshape(2, 3) == 4, torch.arange(6).reshape(2, 3) == 2)


@pytest.mark.parametrize(
    ("target", "args"),
    [
        (aten.permute.default, ([1, 0],)),
        (aten.view.default, ([3, 2],)),
        (aten.slice.Tensor, (1, 1, 3)),
        (aten.select.int, (0, 1)),
        (aten.expand.default, ([4, 2, 3],)),
        (aten.flip.default, ([1],)),
        (aten.roll.default, ([1], [1])),
    ],
    ids=str,
)
def test_labels_zeros_and_masks_move_as_the_values_do(target, args) -> None:
    found = moves.moved(call(target, X, *args))
    for name in ("latest", "zero", "low"):
        assert torch.equal(getattr(found, name), target(getattr(X, name), *args)), name


def test_each_of_several_parts_has_its_own_labels() -> None:
    one, other = moves.moved(call(aten.split.Tensor, X, 2, 1))
    assert torch.equal(one.latest, X.latest[:, :2])
    assert torch.equal(other.low, X.low[:, 2:])


@pytest.mark.parametrize(
    ("fill", "is_zero", "is_low"), [(0.0, True, False), (1.0, False, False), (HIDDEN, False, True)]
)
def test_what_is_filled_in_is_a_known_constant(fill: float, is_zero: bool, is_low: bool) -> None:
    found = moves.moved(call(aten.constant_pad_nd.default, X, [1, 0], fill))
    assert torch.equal(found.latest[:, 0], steps(NEVER, NEVER))
    assert (bool(found.zero[0, 0]), bool(found.low[0, 0])) == (is_zero, is_low)
    assert torch.equal(found.latest[:, 1:], X.latest)


def test_the_upper_triangle_of_a_lower_one_is_zero() -> None:
    found = moves.moved(call(aten.tril.default, X))
    assert torch.equal(found.zero, X.zero | ~torch.ones(2, 3).tril().bool())


def test_a_filled_tensor_is_a_constant() -> None:
    found = moves.filled(call(aten.full_like.default, X, 2.0))
    assert isinstance(found, Tensor)
    assert torch.equal(found, torch.full((2, 3), 2.0))


def test_a_join_has_the_labels_of_its_pieces_and_a_write_those_of_what_is_written() -> None:
    other = torch.tensor([[0.0, 1.0, HIDDEN]])
    joined = moves.joined(call(aten.cat.default, [X, other]))
    assert torch.equal(joined.latest, torch.cat([X.latest, steps([NEVER] * 3)]))
    assert joined.zero[2].tolist() == [True, False, False]
    assert joined.low[2].tolist() == [False, False, True]
    placed = moves.placed(call(aten.select_scatter.default, X, entries(steps(7, 8, 9)), 0, 1))
    assert torch.equal(placed.latest, torch.stack([X.latest[0], steps(7, 8, 9)]))


def test_a_move_to_a_place_that_is_not_known_is_left_to_others() -> None:
    with pytest.raises(NotImplementedError):
        moves.moved(call(aten.permute.default, torch.zeros(2, 3), [1, 0]))
