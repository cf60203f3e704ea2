"""What nn.Module keeps about itself: by these names its attributes are told from the user's own."""

from torch import nn
from torch.nn.modules import module as _module

from fxsolve.torch_compat.checks import lookup, require

BUFFERS = "_buffers"
CHILDREN = "_modules"
TENSORS = ("_parameters", BUFFERS)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

# Looked up by string, a name that is gone would be an attribute that is empty.
for _name in (*TENSORS, CHILDREN, *HOOKS):
    require(_name in vars(nn.Module()), f"{_name} in vars(torch.nn.Module())")

# Those of every module: of `register_module_forward_hook` and its like.
GLOBAL_HOOKS: tuple[dict[int, object], ...] = (
    lookup(_module, "_global_forward_hooks"),
    lookup(_module, "_global_forward_pre_hooks"),
)
