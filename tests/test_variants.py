"""Values that the program reads from tensors, and verification: which version runs, and what is done when none fits."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.errors import InputError
from fxsolve.runtime.cache import MAX_VARIANTS
from fxsolve.runtime.calls import Reader
from fxsolve.runtime.compiled import Compiled
from fxsolve.runtime.ready import Ready
from tests.test_compile import T, cell, numbers

B, N = 3, 4


def compiled(program: Callable[..., Any], **options: Any) -> Compiled:
    return fxsolve.compile(program, schedule="gs", backend="eager", **options)


def counted(x: Tensor, count: Tensor) -> Tensor:
    for _ in range(int(count.item())):
        x = torch.sin(x) + 1
    return x


def branching(x: Tensor) -> Tensor:
    h = torch.zeros_like(x[0])
    scale = 0.5 if x.sum() > 0 else 2.0
    for x_t in x:
        h = torch.tanh(h * scale + x_t)
    return h


def noisy(x: Tensor) -> Tensor:
    h = torch.zeros_like(x[0])
    for x_t in x:
        h = torch.tanh(h + x_t + torch.randn_like(x_t))
    if h.sum() > 0:
        h = h * 3
    return h


def lengths(fast: Compiled) -> list[int]:
    return sorted(loop.length for loop in fast.report().loops)


def calls(fast: Compiled) -> list[int]:
    return [entry.calls for entry in fast.entries]


# Guards that fail.


def test_each_outcome_of_a_branch_gets_a_version_of_its_own() -> None:
    fast, x = compiled(branching), numbers(T, B, N).abs() + 0.1
    for value in (x, -x, x, -x, 2 * x, -2 * x):
        assert torch.equal(fast(value), branching(value))
        assert str(fast.schedule) != "original"
    assert [entry.status for entry in fast.entries] == ["emitted", "emitted"]
    assert calls(fast) == [2, 2]
    assert any("test_variants.py" in note and "recorded again" in note for note in fast.report().notes)


def test_each_trip_count_gets_a_version_of_its_own() -> None:
    fast, x = compiled(counted), numbers(B, N)
    for count in (5, 9, 7, 5, 9, 7):
        assert torch.equal(fast(x, torch.tensor(count)), counted(x, torch.tensor(count)))
        assert lengths(fast) == [count]
    assert calls(fast) == [1, 1, 1]


def test_the_version_that_fitted_last_is_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, x = compiled(branching), numbers(T, B, N).abs() + 0.1
    for value in (x, -x, x):
        fast(value)
    runs: list[int] = []
    original = Ready.run

    def run(self: Ready, *arguments: Any) -> Any:
        runs.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(Ready, "run", run)
    fast(x)
    assert len(runs) == 1
    fast(-x)
    assert len(runs) == 3
    fast(-x)
    assert len(runs) == 4


def test_what_depends_on_no_loop_is_checked_before_the_first_loop_runs() -> None:
    fast = compiled(branching)
    fast(numbers(T, B, N))
    assert fast.code.index("check_guards") < fast.code.index("gauss_seidel(")


def test_a_trip_count_that_differs_at_every_call_is_left_alone_with_its_line() -> None:
    fast, x = compiled(counted), numbers(B, N)
    for count in range(4, 12):
        assert torch.equal(fast(x, torch.tensor(count)), counted(x, torch.tensor(count)))
    assert str(fast.schedule) == "original"
    line = counted.__code__.co_firstlineno + 1
    assert re.search(rf"test_variants\.py:{line}: .*another one at nearly every call", fast.report().reason)
    assert [entry.status for entry in fast.entries] == ["left alone"]
    assert f"({MAX_VARIANTS} recordings)" in fast.report().reason


def test_a_rare_outcome_beyond_the_bound_runs_as_written_and_the_others_stay() -> None:
    fast, x = compiled(counted), numbers(B, N)
    for count in (5, 6, 7, 8, 5, 9, 5, 10, 6):
        assert torch.equal(fast(x, torch.tensor(count)), counted(x, torch.tensor(count)))
    assert str(fast.schedule) != "original"
    assert lengths(fast) == [6]
    assert len(fast.entries) == MAX_VARIANTS
    fast(x, torch.tensor(11))
    assert any("the original ran" in note and "test_variants.py" in note for note in fast.report().notes)


def test_an_outcome_without_a_loop_runs_as_written_beside_one_with_a_loop() -> None:
    fast, x = compiled(counted), numbers(B, N)
    for count in (6, 0, 6, 0, 6):
        assert torch.equal(fast(x, torch.tensor(count)), counted(x, torch.tensor(count)))
    assert lengths(fast) == [6]
    assert [entry.status for entry in fast.entries] == ["emitted", "left alone"]


def test_samples_are_those_of_the_seed_whether_a_guard_holds_or_fails() -> None:
    fast, x = compiled(noisy), numbers(T, B, N) * 0.1
    for seed in range(12):
        torch.manual_seed(seed)
        expected, after = noisy(x), torch.get_rng_state()
        torch.manual_seed(seed)
        assert torch.equal(fast(x), expected)
        assert torch.equal(torch.get_rng_state(), after)
    assert len(fast.entries) == 2
    assert all(count > 0 for count in calls(fast))


def test_an_explicit_generator_is_put_back_when_a_guard_fails() -> None:
    def program(x: Tensor, generator: torch.Generator) -> Tensor:
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h + x_t + torch.randn(x_t.shape, generator=generator))
        return h * 3 if h.sum() > 0 else h

    fast, x, generator = compiled(program), numbers(T, B, N) * 0.1, torch.Generator()
    for seed in range(12):
        expected = program(x, generator.manual_seed(seed))
        after = generator.get_state()
        assert torch.equal(fast(x, generator.manual_seed(seed)), expected)
        assert torch.equal(generator.get_state(), after)
    assert len(fast.entries) == 2


def test_a_wrong_size_in_front_of_its_guard_is_recorded_again_and_not_raised() -> None:
    def program(x: Tensor, keep: Tensor) -> Tensor:
        h = x[:, keep].T
        weight = torch.ones(h.shape[1], h.shape[1]) / 4
        for _ in range(T):
            h = torch.tanh(h @ weight + 1)
        return h

    fast, x = compiled(program), numbers(B, N)
    for keep in ([True, True, False, True], [True, False, False, True], [False, True, True, True]):
        mask = torch.tensor(keep)
        assert torch.equal(fast(x, mask), program(x, mask))
    assert len(fast.entries) == 2


# Verification.


class Hidden:
    """Holds a number where nothing watches it."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.5


def _drifting() -> tuple[Callable[[Tensor], Tensor], Hidden]:
    """A program that reads a number that is not watched."""
    hidden = Hidden()

    def program(x: Tensor) -> Tensor:
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h * hidden.value + x_t)
        return h

    return program, hidden


def test_by_default_only_the_first_result_is_verified() -> None:
    program, hidden = _drifting()
    fast, x = compiled(program), numbers(T, B, N)
    before = fast(x)
    hidden.value = 0.25
    assert torch.equal(fast(x), before)
    assert not torch.equal(program(x), before)


def test_verify_always_returns_the_originals_result_and_leaves_the_program_alone() -> None:
    program, hidden = _drifting()
    fast, x = compiled(program, verify="always"), numbers(T, B, N)
    fast(x), fast(x)
    assert str(fast.schedule) != "original"
    hidden.value = 0.25
    for _ in range(2):
        assert torch.equal(fast(x), program(x))
        assert str(fast.schedule) == "original"
    assert "differed from the original by" in fast.report().reason


def test_verify_n_compares_every_nth_call() -> None:
    program, hidden = _drifting()
    fast, x = compiled(program, verify=3), numbers(T, B, N)
    stale = fast(x)
    hidden.value = 0.25
    results = [fast(x) for _ in range(3)]
    assert [torch.equal(result, stale) for result in results] == [True, True, False]
    assert torch.equal(results[2], program(x))
    assert str(fast.schedule) == "original"


def test_verified_samples_are_those_of_the_seed() -> None:
    def program(x: Tensor) -> Tensor:
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h + x_t + torch.randn_like(x_t))
        return h

    fast, x = compiled(program, verify="always"), numbers(T, B, N)
    for seed in range(4):
        torch.manual_seed(seed)
        expected, after = program(x), torch.get_rng_state()
        torch.manual_seed(seed)
        assert torch.equal(fast(x), expected)
        assert torch.equal(torch.get_rng_state(), after)
    assert str(fast.schedule) != "original"


@pytest.mark.parametrize("verify", ["sometimes", 0, -1, True, 1.5])
def test_an_unusable_verify_is_refused_at_once(verify: Any) -> None:
    with pytest.raises(InputError, match="choose 'first', 'always', or N"):
        fxsolve.compile(cell, verify=verify)


# Errors.


def test_an_error_of_an_emitted_module_leaves_the_program_alone_with_the_right_samples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def program(x: Tensor) -> Tensor:
        h = torch.zeros_like(x[0])
        for x_t in x:
            h = torch.tanh(h + x_t + torch.randn_like(x_t))
        return h

    fast, x = compiled(program), numbers(T, B, N)
    fast(x)
    module = fast.graph_module
    assert module is not None
    monkeypatch.setattr(module, "forward", lambda *inputs: 1 / 0)
    torch.manual_seed(3)
    expected = program(x)
    torch.manual_seed(3)
    assert torch.equal(fast(x), expected)
    assert "internal error in the emitted module: ZeroDivisionError" in fast.report().reason


@pytest.mark.parametrize("stage", ["capture", "partition", "schedule", "emit"])
def test_an_error_of_the_compilers_own_does_not_reach_the_user(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("slot 3 is odd\nand more")

    module = {"capture": "entry", "partition": "equations"}.get(stage, "making")
    monkeypatch.setattr(f"fxsolve.runtime.{module}.{stage}", broken)
    fast = compiled(cell)
    x = numbers(T, B, N)
    for _ in range(2):
        assert torch.equal(fast(x), cell(x))
    assert fast.report().reason == f"internal error in {stage}: RuntimeError: slot 3 is odd; please report"


def test_an_error_while_reading_a_call_does_not_reach_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, x = compiled(cell), numbers(T, B, N)
    monkeypatch.setattr(Reader, "read", lambda *arguments: 1 / 0)
    assert torch.equal(fast(x), cell(x))
    assert "internal error in signature: ZeroDivisionError" in fast.report().reason


def test_the_programs_own_error_is_raised_as_it_is_with_nothing_else_in_its_context() -> None:
    def program(x: Tensor) -> Tensor:
        if x.shape[0] > 3:
            raise KeyError("too long")
        return cell(x)

    fast = compiled(program)
    with pytest.raises(KeyError, match="too long") as caught:
        fast(numbers(T, B, N))
    assert caught.value.__context__ is None
    assert fast.entries == ()


def test_an_error_of_a_torch_call_in_the_program_is_raised_as_it_is() -> None:
    fast = compiled(lambda x: cell(x) @ torch.ones(7, 7))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fast(numbers(T, B, N))
