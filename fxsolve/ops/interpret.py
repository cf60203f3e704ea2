"""The one walk over a graph of ATen calls on abstract values; a domain says what these are and what ops do to them."""

from abc import ABC, abstractmethod
from typing import Any

from torch import fx

from fxsolve.ops.call import Call, bind
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree


class Domain(ABC):
    """What is known of values that are not known: `transfer` gives it for the result of a call from its arguments."""

    @abstractmethod
    def is_abstract(self, value: Any) -> bool:
        """Whether `value` is one of the domain, and no ordinary tensor or number."""

    @abstractmethod
    def transfer(self, call: Call) -> Any:
        """The result of a call of which some arguments are abstract."""

    @abstractmethod
    def mix(self, arguments: Any, example: Any) -> Any:
        """The result of a call of which nothing is known; it has the form of `example`."""


class Interpreter(fx.Interpreter):
    """Runs a graph on abstract values; calls whose arguments are all ordinary are computed.

    Nodes tell the form of their values by the example in `meta["val"]`, which needs no memory.
    """

    def __init__(self, module: fx.GraphModule, domain: Domain, garbage_collect_values: bool = True) -> None:
        super().__init__(module, garbage_collect_values)
        self.domain = domain
        self._example: Any = None

    def run_node(self, n: fx.Node) -> Any:
        """Remember the form of the value that comes next."""
        self._example = n.meta.get("val")
        return super().run_node(n)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call, computed or abstract."""
        if not any(map(self.domain.is_abstract, pytree.tree_leaves((args, kwargs)))):
            return super().call_function(target, args, kwargs)
        if isinstance(target, OpOverload):
            return self.domain.transfer(bind(target, args, kwargs, self._example))
        if isinstance(args[0], (tuple, list)) and len(args) == 2:  # operator.getitem
            return args[0][args[1]]
        return self.domain.mix((args, kwargs), self._example)
