"""Whether torch's profiler is on."""

from torch.autograd import profiler

from fxsolve.torch_compat.checks import lookup

_FLAG = "_is_profiler_enabled"
lookup(profiler, _FLAG)


def is_profiling() -> bool:
    """Whether a profiler collects ranges now; a range costs some microseconds where none does."""
    return getattr(profiler, _FLAG)
