"""A decision that is saved with the report is taken again as it is, for the same program and no other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fxsolve
from fxsolve.report.from_json import from_json
from fxsolve.runtime import making

T, B, N = 24, 2, 3


def cell(x: Tensor) -> Tensor:
    h = x.new_zeros(B, N)
    for row in x:
        h = torch.tanh(0.5 * h + row)
    return h


def other(x: Tensor) -> Tensor:
    h = x.new_zeros(B, N)
    for row in x:
        h = torch.sigmoid(0.5 * h + row)
    return h


def inputs(length: int = T) -> Tensor:
    return torch.randn(length, B, N)


@pytest.fixture
def nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    real = making.schedule

    def only_named(captured: Any, parts: Any, text: str, *settings: Any) -> Any:
        assert text != "auto"
        return real(captured, parts, text, *settings)

    monkeypatch.setattr(making, "schedule", only_named)


def saved(path: Path, program: Any, *calls: Tensor, **options: Any) -> Any:
    fast = fxsolve.compile(program, backend="eager", **options)
    for x in calls:
        fast(x)
    fast.save(path)
    return fast


@pytest.mark.parametrize("asked", ["jacobi", "newton(loop0)", "gs(jacobi(loop0[0:12]), loop0[12:24])", "gs"])
@torch.no_grad()
def test_a_plan_pins_the_schedule(tmp_path: Path, nothing_is_measured: None, asked: str) -> None:
    path, x = tmp_path / "plan.json", inputs()
    fast = saved(path, cell, x, schedule=asked)
    pinned = fxsolve.compile(cell, (x,), schedule=str(path), backend="eager")
    torch.testing.assert_close(pinned(x), cell(x))
    assert str(pinned.schedule) == str(fast.schedule) != "original"
    assert f"decided by the plan {path}" in pinned.report().notes


@torch.no_grad()
def test_a_plan_of_an_automatic_choice_is_taken_without_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    path, x = tmp_path / "plan.json", inputs(200)
    fast = saved(path, cell, x)
    request.getfixturevalue("nothing_is_measured")
    pinned = fxsolve.compile(cell, (x,), schedule=path, backend="eager")
    torch.testing.assert_close(pinned(x), cell(x))
    assert str(pinned.schedule) == str(fast.schedule)


def test_a_plan_has_every_kind_of_calls(tmp_path: Path, nothing_is_measured: None) -> None:
    """Training and evaluation, and two lengths; each is found again."""
    path, x = tmp_path / "plan.json", inputs()
    fast = fxsolve.compile(cell, schedule="jacobi", backend="eager")
    fast(x.clone().requires_grad_()).sum().backward()
    with torch.no_grad():
        fast(x)
        fast(inputs(T + 1))
    fast.save(path)
    assert len(from_json(path.read_text()).plan) == 3
    pinned = fxsolve.compile(cell, schedule=str(path), backend="eager")
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    for program, given in ((pinned, ours), (cell, theirs)):
        program(given).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    with torch.no_grad():
        for length in (T, T + 1):
            given = inputs(length)
            torch.testing.assert_close(pinned(given), cell(given))
            assert "jacobi(loop0" in str(pinned.schedule)


@torch.no_grad()
def test_a_plan_may_be_to_leave_a_program_alone(tmp_path: Path) -> None:
    path, x = tmp_path / "plan.json", inputs()
    saved(path, cell, x, schedule="original")
    pinned = fxsolve.compile(cell, (x,), schedule=str(path), backend="eager")
    assert pinned.report().status == "left alone"
    assert pinned.report().reason == f"the plan {path}: schedule='original' asks for that"


@pytest.mark.parametrize(
    ("program", "length", "what"),
    [
        (other, T, "other ops or sizes in loop0"),
        (cell, T + 5, "other ops or sizes in block0, loop0, inputs and outputs"),
    ],
)
@torch.no_grad()
def test_another_program_is_told_what_differs(tmp_path: Path, program: Any, length: int, what: str) -> None:
    path = tmp_path / "plan.json"
    saved(path, cell, inputs(), schedule="jacobi")
    pinned = fxsolve.compile(program, schedule=str(path), backend="eager")
    about = (
        f"decides about calls of cell with (float32[24, 2, 3]), and not about this one with (float32[{length}, 2, 3])"
    )
    with pytest.raises(fxsolve.PlanError, match=re.escape(f"the plan {path} {about}: {what}")) as caught:
        pinned(inputs(length))
    assert isinstance(caught.value, fxsolve.ScheduleError)


@torch.no_grad()
def test_the_schedule_of_a_compiled_program_can_be_handed_over() -> None:
    x = inputs()
    fast = fxsolve.compile(cell, (x,), schedule="jacobi(loop0, window=8)", backend="eager")
    again = fxsolve.compile(cell, (x,), schedule=fast.schedule, backend="eager")
    torch.testing.assert_close(again(x), cell(x))
    assert again.schedule == fast.schedule
    alone = fxsolve.compile(cell, schedule="original", backend="eager")
    alone(x)
    assert str(alone.schedule) == "original"
    assert fxsolve.compile(cell, (x,), schedule=alone.schedule, backend="eager").report().status == "left alone"


@torch.no_grad()
def test_what_a_plan_says_is_compared_with_the_recorded_run(tmp_path: Path) -> None:
    """A plan whose sweeps stop at once gives other values: the original runs."""
    path, x = tmp_path / "plan.json", inputs()
    saved(path, cell, x, schedule="jacobi")
    data = json.loads(path.read_text())
    data["plan"][0]["schedule"] = "gs(levels(loop0, depth=2))"
    path.write_text(json.dumps(data))
    pinned = fxsolve.compile(cell, schedule=str(path), backend="eager")
    for _ in range(2):
        torch.testing.assert_close(pinned(x), cell(x))


HOSTILE = {
    "empty": "",
    "no JSON": "{",
    "deep": "[" * 10**5,
    "a list": "[1]",
    "foreign": '{"format": "something else"}',
    "code": "cos\nsystem\n(S'exit 1'\ntR.",
    "bytes": b"\xff\xfe\x00",
    "a huge number": '{"format": ' + "9" * 10**4 + "}",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_that_is_no_plan_is_an_error_at_once(tmp_path: Path, kind: str) -> None:
    path, text = tmp_path / "plan.json", HOSTILE[kind]
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(fxsolve.errors.InputError, match=r"plan\.json is no plan"):
        fxsolve.compile(cell, schedule=str(path))


CHANGES: dict[str, Any] = {
    "no list": 3,
    "numbers": [1, 2],
    "no graph": [{"signature": "", "schedule": "gs", "tolerance": None, "reason": ""}],
    "other types": [{"signature": 1, "schedule": 2, "tolerance": "x", "reason": [], "graph": 4}],
    "a number as schedule": [{"signature": "", "schedule": 2, "tolerance": None, "reason": "", "graph": []}],
    "more": [{"signature": "", "schedule": "gs", "tolerance": None, "reason": "", "graph": [], "run": "rm"}],
    "too large": [{"signature": "", "schedule": "gs", "tolerance": 10**400, "reason": "", "graph": []}],
    "nothing": [{"signature": "", "schedule": "", "tolerance": None, "reason": "", "graph": []}],
}


@pytest.mark.parametrize("kind", CHANGES)
@torch.no_grad()
def test_a_plan_of_other_types_is_an_error_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "plan.json"
    saved(path, cell, inputs(), schedule="gs")
    path.write_text(json.dumps({**json.loads(path.read_text()), "plan": CHANGES[kind]}))
    with pytest.raises(fxsolve.errors.InputError, match=r"plan\.json is no plan"):
        fxsolve.compile(cell, schedule=str(path))


@pytest.mark.parametrize(
    "text", ["gs(" * 10**4, f"jacobi(loop0[0:{'9' * 5000}])", "__import__('os').system('exit')", "jacobi(loop9)", "\0"]
)
@torch.no_grad()
def test_a_schedule_that_makes_no_sense_is_an_error_of_the_call(tmp_path: Path, text: str) -> None:
    path, x = tmp_path / "plan.json", inputs()
    saved(path, cell, x, schedule="gs")
    data = json.loads(path.read_text())
    data["plan"][0]["schedule"] = text
    path.write_text(json.dumps(data))
    with pytest.raises(fxsolve.ScheduleError):
        fxsolve.compile(cell, schedule=str(path), backend="eager")(x)


def test_what_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(fxsolve.errors.InputError, match="No such file"):
        fxsolve.compile(cell, schedule=str(tmp_path / "plan.json"))
    fxsolve.compile(cell).save(tmp_path / "early.json")
    with pytest.raises(fxsolve.errors.InputError, match="holds no decision; save it after a call"):
        fxsolve.compile(cell, schedule=tmp_path / "early.json")
    with pytest.raises(fxsolve.errors.InputError, match="schedule is a int; it must be text"):
        fxsolve.compile(cell, schedule=3)  # pyright: ignore[reportArgumentType]
