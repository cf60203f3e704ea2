"""The positional arguments of a call."""

from typing import Any

from torch import fx


def arguments(node: fx.Node, *defaults: Any) -> tuple[Any, ...]:
    """The positional arguments of a call, with `defaults` for those at the end that it leaves out."""
    return (*node.args, *defaults[len(node.args) :])
