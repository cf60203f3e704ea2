"""The graph that autograd keeps of a run: through which outputs gradients come to a tensor."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge


@dataclass(frozen=True)
class Ways:
    """For each tensor the numbers of the results that lead to it, and for each result those of the others that do.

    `is_custom` tells that a way leads through a function whose backward is written in Python, which may end it.
    """

    tensors: tuple[frozenset[int], ...]
    results: tuple[frozenset[int], ...]
    is_custom: bool


def find_ways(results: Sequence[Tensor], tensors: Sequence[Tensor]) -> Ways:
    """Follow the gradients of all results at once, not beyond the `tensors`; 2 us for each call of the program."""
    own, wanted = list(map(_edge, results)), list(map(_edge, tensors))
    ends = {node for node, _ in wanted}
    at_node: dict[Node, int] = defaultdict(int)  # bit k: the gradient of result k comes here
    at_edge: dict[tuple[Node, int], int] = defaultdict(int)
    for number, (node, _) in enumerate(own):
        at_node[node] |= 1 << number
    order = _in_order((node for node, _ in own), ends)
    for node in order:
        if node in ends:
            continue
        for child, slot in node.next_functions:
            if child is not None:
                at_node[child] |= at_node[node]
                at_edge[child, slot] |= at_node[node]
    others = tuple(_members(at_edge[edge]) for edge in own)
    ours = [sum(1 << k for k, edge in enumerate(own) if edge == one) for one in wanted]
    found = tuple(_members(at_edge[edge] | bits) for edge, bits in zip(wanted, ours, strict=True))
    is_custom = any(isinstance(node, torch.autograd.function.BackwardCFunction) for node in order if node not in ends)
    return Ways(found, others, is_custom)


def _edge(tensor: Tensor) -> tuple[Node, int]:
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


def _members(mask: int) -> frozenset[int]:
    return frozenset(number for number in range(mask.bit_length()) if mask >> number & 1)


def _in_order(starts: Iterable[Node], ends: Collection[Node]) -> list[Node]:
    """Every node that gradients reach on the way to the `ends`, each before those that it hands gradients on to."""
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
            children = () if node in ends else node.next_functions
            pending += [(child, False) for child, _ in children if child is not None]
    return done[::-1]
