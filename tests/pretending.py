"""Compile nothing, and find it fast: for tests of when steps are compiled."""

from collections import OrderedDict

import pytest
from torch import Tensor, nn

from fxsolve.plan import rules
from fxsolve.plan.methods import fused as fused_method
from fxsolve.plan.methods import jacobi as jacobi_method
from fxsolve.runtime import judging
from fxsolve.solvers import compile_once

STEP = 1e-4  # seconds


def pretend(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The graphs that are compiled from now on, which run as they are; all loops are worth it by what is measured."""
    made: list[nn.Module] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
        made.append(module)
        return module

    probe = fused_method.fused_step_seconds

    def fast(*given) -> float:
        probe(*given)
        return 1e-7

    monkeypatch.setattr(compile_once, "_kept", OrderedDict())
    monkeypatch.setattr(compile_once, "compile_by_inductor", keep)
    monkeypatch.setattr(fused_method, "OVERHEAD_BOUND", 1.0)
    monkeypatch.setattr(fused_method, "fused_step_seconds", fast)
    monkeypatch.setattr(rules, "step_seconds", lambda *_: STEP)
    monkeypatch.setattr(jacobi_method, "sweep_seconds", lambda window: 1.0)
    monkeypatch.setattr(judging, "_WORTH", 0.0)
    monkeypatch.setattr(judging, "_CALL_SECONDS", -1.0)
    return made
