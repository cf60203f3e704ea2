"""Whether torch's profiler is on, and what it is told then."""

from torch import nn
from torch.profiler import profile

from fxsolve.solvers.ranges import profiled
from fxsolve.torch_compat.profiling import is_profiling


class Named(nn.Module):
    name = "cell"


@profiled
def settle(loop: Named, value: int) -> int:
    """A solver."""
    return value + is_profiling()


def test_it_is_known_whether_ranges_are_collected() -> None:
    assert not is_profiling()
    with profile():
        assert is_profiling()
    assert not is_profiling()


def test_a_solve_is_a_range_of_a_profile_and_nothing_else_otherwise() -> None:
    assert settle(Named(), 1) == 1
    with profile() as seen:
        assert settle(Named(), value=1) == 2
    assert [one.name for one in seen.events() if one.name.startswith("fxsolve")] == ["fxsolve: settle(cell)"]
    assert settle.__doc__ == "A solver."
