"""What is measured is what it says: the first steps, the sweeps until the test holds, and the results of all."""

import pytest
import torch

from fxsolve.ir.evaluate import run_repeat
from fxsolve.plan import probe
from fxsolve.plan.method import whole
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.solvers.stop import Stop
from tests.loops.programs import gru
from tests.plan.situations import situation


@pytest.fixture
def given():
    return situation(gru)


def test_a_shortened_repeat_gives_the_first_steps(given) -> None:
    repeat, values = given.repeat, given.values
    short = probe.shorten(repeat, 3)
    assert probe.shorten(repeat, repeat.length) is repeat
    with torch.no_grad():
        some, every = (run_repeat(one, values.named) for one in (short, repeat))
    name = next(name for name, value in every.items() if value.shape[:1] == (repeat.length,))
    assert torch.equal(some[name], every[name][:3])


def test_a_run_gives_the_results_and_counts_its_sweeps(given) -> None:
    repeat, values = given.repeat, given.values
    with torch.no_grad():
        wanted = run_repeat(repeat, values.named)
    in_order = probe.run_parts(repeat, values, (whole(repeat),))
    swept = probe.run_parts(repeat, values, (Jacobi(whole(repeat)),), Stop())
    assert all(torch.equal(in_order.results[name], value) for name, value in wanted.items())
    for name, value in wanted.items():
        torch.testing.assert_close(swept.results[name], value)
    assert 1 < swept.sweeps <= repeat.length + 1
    assert swept.seconds > 0


def test_sweeps_are_counted_up_to_a_limit(given) -> None:
    window = probe.first_window(given.repeat, given.values, given.repeat.length)
    with torch.no_grad():
        count = probe.count_sweeps(window, Stop(), given.repeat.length + 1)
        assert count is not None
        assert probe.count_sweeps(window, Stop(), count) == count
        assert probe.count_sweeps(window, Stop(), count - 1) is None
        assert probe.count_sweeps(window, Stop(), 0) is None
        loose = probe.count_sweeps(window, Stop(10.0, 10.0), count)
    assert loose is not None
    assert loose < count


def test_the_least_of_several_runs_is_told() -> None:
    runs = []
    assert probe.least_seconds(lambda: runs.append(1)) >= 0
    assert len(runs) > 3  # one to warm up, and cheap ones more often
