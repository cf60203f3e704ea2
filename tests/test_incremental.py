"""Samplers whose entries are computed once: the program's samples, and one sweep that finds nothing to mend."""

import pytest
import torch

import fxsolve
from tests.plan.test_causal_networks import CAUSAL
from tests.samplers import SAMPLERS

NETWORKS = {**CAUSAL, **SAMPLERS}
TOLERANCE = 1e-9
# What no rule computes at places; of all other networks nothing is computed whole.
WHOLE = {
    "line, strides": ("avg_pool2d",),
    "line, running": ("cumsum",),
    "one-hot": ("scatter",),
    "gru": ("stack",),
    "running sum": ("cumsum",),
}


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_one_sweep_finds_the_values_that_were_computed_once(name: str, doubles: None) -> None:
    program, inputs = NETWORKS[name]()
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager", tolerance=TOLERANCE)
    torch.manual_seed(1)
    expected = program(*inputs)
    torch.manual_seed(1)
    torch.testing.assert_close(fast(*inputs), expected, rtol=TOLERANCE, atol=TOLERANCE)
    (run,) = (run for run in fast.report().runs if run.method == "incremental")
    assert run.sweeps == 1
    said = " ".join(str(fast.report()).split())
    whole = WHOLE.get(name, ())
    assert ("in every step whole" in said) == bool(whole)
    assert f"in every step whole: {', '.join(whole)}" in said or not whole
