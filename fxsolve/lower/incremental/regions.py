"""Which entries of a value are final behind which step, along as few of its dimensions as tell that."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from fxsolve.lower.incremental.final import Receding
from fxsolve.lower.incremental.moves import MOVES, call_of, source_of
from fxsolve.lower.incremental.places import Numbers
from fxsolve.ops.access import Joined
from fxsolve.ops.domains.entries import NEVER, Entries, tells


@dataclass(frozen=True)
class Region:
    """The entries at place m along the dimensions `dims` of a value are final from step ready[m] on, 0 for the first.

    Where `dims` are none, all of it is final from one step on.
    """

    dims: tuple[int, ...]
    ready: Numbers


def find_regions(
    step: fx.GraphModule, labels: Mapping[fx.Node, Any], needed: Mapping[fx.Node, Tensor], length: int
) -> dict[fx.Node, Region]:
    """The regions of all nodes that are computed, and not only moved, and of which no entry is of one step alone."""
    found: dict[fx.Node, Region] = {}
    for node in step.graph.nodes:
        value = labels.get(node)
        if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor) or is_moved(node):
            continue
        if isinstance(value, Receding) or (isinstance(value, Entries) and _hides(value)):
            continue  # what hides an entry that is not final is read, too
        if isinstance(value, Tensor):
            found[node] = _region(torch.full((), NEVER), torch.ones((), dtype=torch.bool))
        elif isinstance(value, Entries) and value.latest.numel():
            seen = needed.get(node, torch.ones((), dtype=torch.bool, device=value.latest.device))
            latest = torch.where(seen, value.latest, NEVER)
            if int(latest.max()) < length:
                found[node] = _region(latest, seen.expand(latest.shape))
    return found


def _hides(value: Entries) -> bool:
    """Whether entries of a mask are known: they are read before those beside them are final."""
    return bool(value.low.any()) or (value.true is not None and tells(value))


def is_moved(node: fx.Node) -> bool:
    """Whether a node only moves entries of others."""
    source, _ = source_of(node)
    return isinstance(call_of(source).fact.access, MOVES | Joined)


def _region(latest: Tensor, seen: Tensor) -> Region:
    dims = _telling_dims(latest, seen)
    others = [dim for dim in range(latest.dim()) if dim not in dims]
    return Region(dims, (latest.amax(others) if others else latest).reshape(-1).numpy(force=True) + 1)


def _telling_dims(latest: Tensor, seen: Tensor) -> tuple[int, ...]:
    """The dimensions without which labels would be told apart no more; what is not `seen` may have any."""
    low, high, dims = torch.where(seen, latest, latest.max() + 1), latest, list(range(latest.dim()))
    for dim in range(latest.dim()):
        least, most = low.amin(dim, keepdim=True), high.amax(dim, keepdim=True)
        if bool((least >= most).all()):
            low, high = least, most
            dims.remove(dim)
    return tuple(dims)
