"""Take the stack of a loop apart in one call, where most of its steps are picked out of it one by one."""

import operator

import torch
from torch import fx


def take_apart(stack: fx.Node, length: int) -> None:
    """Turn `select(stack, 0, t)` for most t < length into `unbind(stack)[t]`."""
    picks = [node for node in stack.users if node.target is torch.select and node.args[1] == 0]
    if 2 * len(picks) <= length:
        return
    with stack.graph.inserting_after(stack):
        steps = stack.graph.call_function(torch.unbind, (stack,))
    for node in picks:
        node.target, node.args = operator.getitem, (steps, node.args[2])
