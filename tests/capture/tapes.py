"""A tape for the tests of what is done with recorded calls."""

from typing import Any

from torch import Tensor, fx

from fxsolve.capture.tape import Tape
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.torch_compat.operators import OpOverload


class Known(Tape):
    """A tape of tensors that all have nodes."""

    def node_of(self, tensor: Tensor) -> fx.Node:
        node = self.find(tensor)
        assert node is not None
        return node

    def given(self, name: str, tensor: Tensor) -> fx.Node:
        node = self.placeholder(name, spec_of(tensor), "")
        self.bind(tensor, node)
        return node

    def run(self, function: OpOverload, *args: Any, **kwargs: Any) -> Any:
        """Make a call and write it down."""
        result = function(*args, **kwargs)
        self.write(function, tuple(map(self.as_nodes, args)), kwargs, result, "here:1")
        return result
