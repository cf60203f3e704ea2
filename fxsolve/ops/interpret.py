"""The one walk over a graph of ATen calls on abstract values; a domain says what these are and what ops do to them."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import fx

from fxsolve.ops.call import Call, bind
from fxsolve.ops.facts import FACTS, Facts
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree


class Domain(ABC):
    """What is known of values that are not known: `transfer` gives it for the result of a call from its arguments."""

    @abstractmethod
    def is_abstract(self, value: Any) -> bool:
        """Whether `value` is one of the domain, and no ordinary tensor or number."""

    def known(self, compute: Callable[[], Any]) -> Any:
        """The result of a call whose arguments are all ordinary; most domains compute it."""
        return compute()

    @abstractmethod
    def transfer(self, call: Call) -> Any:
        """The result of a call of which some arguments are abstract."""

    @abstractmethod
    def mix(self, arguments: Any, example: Any) -> Any:
        """The result of a call of which nothing is known; it has the form of `example`."""


def for_each_result(example: Any, say: Callable[[Any], Any]) -> Any:
    """What `say` makes of the form of each result of a call: one, or a tuple with None where there is none."""
    if isinstance(example, (tuple, list)) and not hasattr(example, "dtype"):
        return tuple(None if one is None else say(one) for one in example)
    return say(example)


class Interpreter(fx.Interpreter):
    """Runs a graph on abstract values; calls whose arguments are all ordinary are computed.

    Nodes tell the form of their values by the example in `meta["val"]`, which needs no memory, or else by their spec,
    which is enough for domains that say the same of all entries of a value. `facts` is the table of ops.
    """

    def __init__(
        self, module: fx.GraphModule, domain: Domain, facts: Facts = FACTS, garbage_collect_values: bool = True
    ) -> None:
        super().__init__(module, garbage_collect_values)
        self.domain = domain
        self.facts = facts
        self.inputs = module.graph.find_nodes(op="placeholder")
        self._example: Any = None

    def run_node(self, n: fx.Node) -> Any:
        """Remember the form of the value that comes next."""
        self._example = n.meta.get("val", n.meta.get("spec"))
        return super().run_node(n)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call, computed or abstract."""
        if not any(map(self.domain.is_abstract, pytree.tree_leaves((args, kwargs)))):
            return self.domain.known(partial(super().call_function, target, args, kwargs))
        if isinstance(target, OpOverload):
            return self.domain.transfer(bind(target, args, kwargs, self._example, self.facts))
        if isinstance(args[0], (tuple, list)) and len(args) == 2:  # operator.getitem
            return args[0][args[1]]
        return self.domain.mix((args, kwargs), self._example)
