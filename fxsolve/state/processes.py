"""Parts of a program that communicate with other processes by themselves, and whether there are any."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from fxsolve.state.reach import Reach, ReachedObjects, name_tensors

# Classes of modules and tensors that communicate; those of the last package only wrap a module.
_PLACES = ("torch.distributed.", "torch.nn.parallel.distributed")
_SILENT = "torch.distributed.algorithms."
PARTS_ALONE = "compile the parts of the program that do not communicate"
_PLAIN = (Tensor, nn.Parameter)
_ORDERS = {
    "DistributedDataParallel": "compile the module inside of it: DistributedDataParallel(fxsolve.compile(module))",
    "FSDPModule": "compile modules inside of it that are not sharded by themselves, before fully_shard is called",
}


def communicating_part(reach: Reach, found: ReachedObjects) -> str:
    """Why a program runs as it was written if a module or tensor that it reaches communicates by itself, or ""."""
    tensors = ((name, tensor) for tensor, name, _ in name_tensors(reach).values() if type(tensor) not in _PLAIN)
    return next((why for name, one in (*found.modules, *tensors) if (why := communicates(one, name))), "")


def communicates(value: Any, name: str) -> str:
    """Why what has this name communicates by itself, a tensor that is spread over processes for example, or ""."""
    kind = _distributed_kind(type(value))
    if not kind:
        return ""
    order = _ORDERS.get(kind, PARTS_ALONE)
    return f"{name or 'the program'} is a {kind}, which communicates between processes by itself; {order}."


@cache
def _distributed_kind(kind: type) -> str:
    """The name of the class behind `kind` that communicates, or ""."""
    places = ((base.__name__, f"{base.__module__}.") for base in kind.__mro__)
    names = [name for name, place in places if place.startswith(_PLACES) and not place.startswith(_SILENT)]
    return next((name for name in names if name in _ORDERS), "".join(names[:1]))


def in_group() -> bool:
    """Whether this process is one of several in a group."""
    distributed = torch.distributed
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1
