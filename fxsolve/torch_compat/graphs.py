"""torch.fx."""

from collections.abc import Callable
from typing import Any

from torch import fx

from fxsolve.torch_compat.checks import lookup, relied_on

with relied_on():
    # Generates its code at the first call.
    from torch.fx._lazy_graph_module import _LazyGraphModule as LazyGraphModule

__all__ = ["LazyGraphModule"]

# Gives a node arguments that hold no symbolic numbers, and does not search for any.
update_arguments: Callable[[fx.Node, tuple[Any, ...], dict[str, Any]], None] = lookup(fx.Node, "_update_args_kwargs")
