"""Process groups, remote procedure calls and futures; a build of torch may have no processes."""

import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed

from fxsolve.torch_compat.checks import lookup, relied_on

with relied_on():
    from torch._C import Future, wait  # pyright: ignore[reportAttributeAccessIssue]

if distributed.is_available():
    lookup(distributed.distributed_c10d, "_get_default_store")

# Where a future gives its value; the last one is what `torch.jit.wait` calls.
VALUES_OF_FUTURES = ((Future, "wait"), (Future, "value"), (torch._C, wait.__name__))


def default_store() -> Any:
    """The store behind `init_process_group`."""
    return distributed.distributed_c10d._get_default_store()


def remote_calls() -> Iterator[tuple[Any, str]]:
    """Where a process calls others, once the program has imported how: owners, and names of what they call."""
    rpc: Any = sys.modules.get("torch.distributed.rpc")
    if rpc is None or not rpc.is_available():
        return
    with relied_on():
        from torch._C._distributed_rpc import PyRRef  # pyright: ignore[reportMissingImports]
    # Every function of this module asks this first, however the program has imported it.
    lookup(rpc.api, "_is_current_rpc_agent_set")
    yield rpc.api, "_is_current_rpc_agent_set"
    yield PyRRef, "to_here"
