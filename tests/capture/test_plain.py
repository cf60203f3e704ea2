"""Tensors without values, without strides, or of other classes are refused, each with its name and kind."""

import pytest
import torch
from torch import Tensor, nn

from fxsolve.capture.plain import refuse_unusual
from fxsolve.errors import CaptureError, CommunicationError


class Own(Tensor):
    pass


class Spread(Tensor):
    __module__ = "torch.distributed.tensor"


X = torch.eye(3)


@pytest.mark.parametrize("tensor", [X, nn.Parameter(X), nn.Parameter(X, requires_grad=False), X.T[:, ::2], X[:0]])
def test_strided_tensors_and_parameters_are_handled(tensor: Tensor) -> None:
    refuse_unusual(tensor, "input 0")


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (X.as_subclass(Own), "input 0 is a Own; fxsolve handles plain tensors and parameters"),
        (nn.Buffer(X).as_subclass(Own), "input 0 is a Own"),
        (X.to_sparse(), r"input 0 has layout torch\.sparse_coo; fxsolve handles strided tensors, convert it first"),
        (X.to_mkldnn(), r"input 0 has layout torch\._mkldnn"),
        (X.to("meta"), "input 0 is on the device meta, where tensors have no values"),
        (nn.Parameter(X.to("meta")), "input 0 is on the device meta"),
    ],
)
def test_others_are_refused_by_name_and_kind(tensor: Tensor, reason: str) -> None:
    with pytest.raises(CaptureError, match=reason) as caught:
        refuse_unusual(tensor, "input 0")
    assert not isinstance(caught.value, CommunicationError)


def test_a_tensor_that_is_spread_over_processes_is_refused_for_that_reason() -> None:
    with pytest.raises(CommunicationError, match="input 0 is a Spread, which communicates between processes by itself"):
        refuse_unusual(X.as_subclass(Spread), "input 0")
