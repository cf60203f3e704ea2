"""Nodes and passes of autograd."""

from collections.abc import Callable

import torch
from torch.autograd.graph import Node, get_gradient_edge

from fxsolve.torch_compat.checks import caller, lookup, relied_on

with relied_on():
    from torch._C import _current_autograd_node as current_node
    from torch._C import _current_graph_task_id as current_pass
    from torch._C import _will_engine_execute_node as will_run
    from torch.autograd import _get_sequence_nr  # pyright: ignore[reportPrivateImportUsage]
    from torch.autograd.variable import Variable

__all__ = ["current_node", "current_pass", "will_run"]

with torch.inference_mode(False):
    _NODE = get_gradient_edge(torch.zeros((), requires_grad=True)).node

# Nodes are numbered in the order in which the forward passes of a thread make them.
next_number: Callable[[], int] = _get_sequence_nr
number_of: Callable[[Node], int] = caller(_NODE, "_sequence_nr")
# Of a function: in a backward pass, call it when that is over.
at_end_of_backward: Callable[[Callable[[], object]], None] = lookup(
    lookup(Variable, "_execution_engine"), "queue_callback"
)
