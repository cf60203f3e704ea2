"""pytree: containers of containers as the list of their leaves, and back."""

from fxsolve.torch_compat.checks import lookup, relied_on

with relied_on():
    from torch.utils import _pytree as pytree
    from torch.utils._pytree import TreeSpec

for _name in ("tree_flatten", "tree_leaves", "tree_map", "tree_map_only", "tree_unflatten"):
    lookup(pytree, _name)

__all__ = ["TreeSpec", "pytree"]
