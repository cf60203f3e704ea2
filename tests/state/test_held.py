"""What is held is put back: values of places, items of containers, the memory of tensors and their flags."""

import torch

from fxsolve.state.held import NOTHING_HELD, Held, hold
from fxsolve.state.places import MISSING, Place


class Owner:
    """Has attributes."""

    def __init__(self) -> None:
        self.items, self.number = [1, [2]], 3


def places(owner: Owner) -> list[Place]:
    return [Place(name, vars(owner), name) for name in ("items", "number", "later")]


def test_values_and_items_are_put_back_into_the_same_containers() -> None:
    owner = Owner()
    items, inner = owner.items, owner.items[1]
    held = hold(places(owner))
    owner.items.append(4)
    inner.append(5)  # pyright: ignore[reportAttributeAccessIssue]
    owner.number, owner.later = 6, 7  # pyright: ignore[reportAttributeAccessIssue]
    held.put_back()
    assert vars(owner) == {"items": [1, [2]], "number": 3}
    assert owner.items is items
    assert owner.items[1] is inner


def test_a_place_without_its_attribute_holds_nothing() -> None:
    owner = Owner()
    held = hold(places(owner))
    assert [slot.held for slot in held.values] == [owner.items, 3, MISSING]
    assert held.now() == [[1, [2]], 3, None]


def test_a_tensor_is_put_back_on_its_memory() -> None:
    x = torch.zeros(2)
    memory = x.data_ptr()
    held = hold([], [x])
    x.data = torch.ones(2)
    assert torch.equal(held.now()[0], torch.ones(2))
    held.put_back()
    assert x.data_ptr() == memory


def test_a_tensor_that_wanted_no_gradients_wants_none_again() -> None:
    x, y = torch.zeros(2), torch.zeros(2)
    held = Held(free=(x, y))
    x.requires_grad_()
    held.put_back()
    assert not x.requires_grad


def test_nothing_is_put_back_of_nothing() -> None:
    NOTHING_HELD.put_back()
    assert NOTHING_HELD.now() == []
