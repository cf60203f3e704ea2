"""The graph that autograd keeps of a run: through which outputs gradients come to a tensor."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from fxsolve.tracer.gate import is_gate


@dataclass(frozen=True)
class Ways:
    """For each tensor the numbers of the results that lead to it, and for each result those of the others that do.

    `is_custom` tells that a way leads through a function whose backward is written in Python, which may end it.
    """

    tensors: tuple[frozenset[int], ...]
    results: tuple[frozenset[int], ...]
    is_custom: bool


def find_ways(results: Sequence[Tensor], tensors: Sequence[Tensor]) -> Ways:
    """Follow the gradients of all results at once; 2 us for each call of the program."""
    own = [_edge(result) for result in results]
    at_node: dict[Node, int] = defaultdict(int)  # bit k: the gradient of result k comes here
    at_edge: dict[tuple[Node, int], int] = defaultdict(int)
    for number, (node, _) in enumerate(own):
        at_node[node] |= 1 << number
    order = _in_order(node for node, _ in own)
    for node in order:
        if is_gate(node):
            continue
        for child, slot in node.next_functions:
            if child is not None:
                at_node[child] |= at_node[node]
                at_edge[child, slot] |= at_node[node]
    others = tuple(_members(at_edge[edge]) for edge in own)
    ours = [sum(1 << k for k, edge in enumerate(own) if edge == wanted) for wanted in map(_edge, tensors)]
    found = tuple(_members(at_edge[_edge(tensor)] | bits) for tensor, bits in zip(tensors, ours, strict=True))
    return Ways(found, others, any(isinstance(node, torch.autograd.function.BackwardCFunction) for node in order))


def _edge(tensor: Tensor) -> tuple[Node, int]:
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


def _members(mask: int) -> frozenset[int]:
    return frozenset(number for number in range(mask.bit_length()) if mask >> number & 1)


def _in_order(starts: Iterable[Node]) -> list[Node]:
    """Every node that gradients reach, each before those that it hands gradients on to."""
    done: list[Node] = []
    seen: set[Node] = set()
    pending = [(node, False) for node in starts]
    while pending:
        node, is_left = pending.pop()
        if is_left:
            done.append(node)
        elif node not in seen:
            seen.add(node)
            pending.append((node, True))
            pending += [(child, False) for child, _ in node.next_functions if child is not None]
    return done[::-1]
