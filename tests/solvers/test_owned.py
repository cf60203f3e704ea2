"""The tensors of a model, given as they are at the call."""

import torch
from torch import nn

from fxsolve.solvers.owned import Owned


def test_parameters_stay_the_very_objects_in_their_order() -> None:
    weights = [nn.Parameter(torch.full((2,), float(k))) for k in range(12)]
    owned = Owned(weights)
    assert all(one is other for one, other in zip(owned(), weights, strict=True))
    assert len(list(owned.parameters())) == 12
    assert not list(owned.buffers())


def test_tensors_that_are_no_parameters_are_buffers() -> None:
    owned = Owned([torch.zeros(2), torch.ones(2)])
    assert not list(owned.parameters())
    assert [value.tolist() for value in owned()] == [[0, 0], [1, 1]]


def test_a_model_that_is_moved_or_loaded_gives_its_new_values() -> None:
    owned = Owned([nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))])
    owned.double().load_state_dict({"0": torch.ones(2), "1": torch.full((2,), 2.0)})
    assert [value.tolist() for value in owned()] == [[1, 1], [2, 2]]
    assert {value.dtype for value in owned()} == {torch.float64}
