"""`compile` refuses what it cannot use before anything runs, and `explain` is the report of one call."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.compiler import compile, explain
from fxsolve.errors import InputError

X = torch.rand(2, 3)


class Counting(nn.Module):
    """A loop that counts its runs in a list that it does not reach."""

    def forward(self, x: Tensor) -> Tensor:
        RUNS.append(x.shape)
        for _ in range(5):
            x = torch.tanh(x) * 0.5
        return x


RUNS: list[torch.Size] = []


@pytest.fixture(autouse=True)
def _no_runs() -> None:
    RUNS.clear()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"example_inputs": X}, "example_inputs is a Tensor"),
        ({"backend": "cuda"}, "backend"),
        ({"tolerance": -1.0}, r"tolerance is -1\.0; it must be 0 or a positive number"),
        ({"tolerance": float("nan")}, "tolerance is nan"),
        ({"verify": "never"}, "verify"),
        ({"max_entries": 0}, "max_entries"),
        ({"schedule": 3}, "schedule"),
        ({"fullgraph": True}, "there is no option 'fullgraph'"),
        ({"dynamic_shapes": 3}, "dynamic_shapes"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_the_program_runs(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        compile(Counting(), **{"example_inputs": (X,), **options})
    assert RUNS == []


def test_nothing_runs_before_the_first_call_and_example_inputs_are_one() -> None:
    compile(Counting(), backend="eager")
    assert RUNS == []
    fast = compile(Counting(), (X,), schedule="gs", backend="eager")
    assert len(fast.entries) == 1
    count = len(RUNS)
    assert torch.equal(fast(X), Counting().forward(X))
    assert len(RUNS) == count + 1  # the original's


def test_what_is_compiled_is_compiled_anew_with_the_options_of_both() -> None:
    model = Counting()
    fast = compile(model, schedule="gs", backend="eager")
    again = compile(fast, max_entries=2)
    assert again is not fast
    assert again.program is model
    again(X)
    assert str(again.schedule).startswith("gs")
    with pytest.raises(InputError, match="compiled already, with schedule='gs'; for schedule='jacobi' compile its"):
        compile(fast, schedule="jacobi")


def test_an_explanation_is_the_report_of_one_call() -> None:
    report = explain(Counting(), x=X)
    assert report.program == "Counting"
    assert RUNS[0] == X.shape
    assert report.loops or report.notes
