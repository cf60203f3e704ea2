"""Random programs, compiled, give what the program as written gives: values, samples, side effects, generator state."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree

import fxsolve
from fxsolve.tracer.bits import same_bits
from tests.properties.failures import FAILURES
from tests.properties.programs import build, inputs, module_of, sources

# How each schedule is compared: bit for bit (None), or by a tolerance. A sweep rounds as batched ops do.
COMPARED = {("jacobi", torch.float64): 1e-9, ("gs", torch.float64): None, ("gs", torch.float32): None}

AGAIN = "the original, after another outcome of a read"


def run(program: Any, x: Tensor, state: dict[str, Tensor]) -> list[Any]:
    """What one call returns and what it leaves in its input, in the module's `state` and in the random generator."""
    torch.manual_seed(1)
    x = x.clone()
    with torch.no_grad():
        result = program(x)
    return [torch.get_rng_state(), x, dict(state), result]


def assert_same(found: list[Any], wanted: list[Any], tolerance: float | None) -> None:
    found_leaves, found_spec = pytree.tree_flatten(found)
    leaves, spec = pytree.tree_flatten(wanted)
    assert found_spec == spec
    assert same_bits(found[0], wanted[0]), "the generator is left in another state"
    for a, b in zip(found_leaves, leaves, strict=True):
        if not isinstance(b, Tensor):
            assert a == b
        elif tolerance is None:
            assert same_bits(a, b), f"not the same bits: {a} is not {b}"
        else:
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def check(source: str, schedule: str, dtype: torch.dtype = torch.float64) -> str:
    """Compare calls on different inputs with the original's; returns how the program ran."""
    original, program = build(source, dtype), build(source, dtype)
    fast = fxsolve.compile(program, schedule=schedule, backend="eager")
    for seed in (1, 2):
        x = inputs(seed, dtype)
        try:
            wanted = run(original, x, original.state_dict())
        except Exception as error:
            with pytest.raises(type(error)):
                run(fast, x, program.state_dict())
            return "raises"
        assert_same(run(fast, x, program.state_dict()), wanted, COMPARED[schedule, dtype])
    report = fast.report()
    if report.status == "left alone":
        assert str(fast.schedule) == "original"
        assert "internal error" not in report.reason
        return f"left alone: {report.reason}"
    if not report.runs:
        return AGAIN
    return "swept" if any(run.method == "jacobi" for run in report.runs) else "in order"


def fuzz(examples: int) -> Counter[str]:
    """How random programs ran, each under one schedule; a program that comes twice counts once."""
    seen: dict[str, str] = {}

    @settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(sources(), st.sampled_from(list(COMPARED)))
    def every_program_is_reproduced(source: str, how: tuple[str, torch.dtype]) -> None:
        seen[source] = check(source, *how).partition(":")[0]

    every_program_is_reproduced()
    counts = Counter(seen.values())
    print(dict(counts))
    return counts


def test_random_programs_are_reproduced() -> None:
    seen = fuzz(90)
    assert seen.total() >= 60
    assert seen["in order"] + seen["swept"] > 0.5 * seen.total(), seen
    assert seen["swept"] > 0.1 * seen.total(), seen


@pytest.mark.slow
def test_two_thousand_random_programs_are_reproduced() -> None:
    seen = fuzz(2600)
    assert seen.total() >= 2000
    assert seen["in order"] + seen["swept"] > 0.5 * seen.total(), seen
    assert seen["swept"] > 0.1 * seen.total(), seen
    assert seen[AGAIN] > 0, seen


@pytest.mark.parametrize(("schedule", "dtype"), COMPARED)
@pytest.mark.parametrize("name", FAILURES)
def test_a_program_that_failed_once_is_reproduced(name: str, schedule: str, dtype: torch.dtype) -> None:
    assert check(module_of(FAILURES[name]), schedule, dtype) in ("in order", "swept")
