"""A value that Python reads is used and guarded."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.capture.capture import capture
from fxsolve.capture.program import Program
from fxsolve.capture.record.reads import check_literal, guard_read, is_read
from fxsolve.capture.verify import verify_program
from fxsolve.errors import CaptureError
from tests.capture.recording import recorder_of

aten = torch.ops.aten
X = torch.tensor([1.0, -2.0, 3.0])


def captured(program, *args) -> Program:
    result = capture(program, args, {})
    verify_program(result)
    return result


def readings(program: Program, *inputs: Tensor) -> list:
    return [value.item() for value in program.module(*inputs)[len(program.example.outputs) :]]


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda x: x * x.sum().item(), [2.0]),
        (lambda x: x * 2 if x.sum() > 0 else x, [True]),
        (lambda x: x * int(x[2]), [3.0]),
        (lambda x: x * 2 if torch.equal(x, x) else x, [True]),
        (lambda x: x if torch.equal(x, x[:2]) else x * 2, []),
        (lambda x: x if torch.allclose(x, x + 1) else x * 2, [False]),
        (lambda x: x[x > 0] * 2, [2]),
        (lambda x: x.masked_select(x > 0), [2]),
        (lambda x: x[(x > 0).nonzero()[:, 0]], [2]),
        (lambda x: x.repeat_interleave((x > 0).long() + 1), [5]),
        (lambda x: x[torch.tensor([0, 2])], []),
        (lambda x: torch.bincount((x > 0).long()), [1]),
        (lambda x: torch.bincount((x > 0).long(), x, minlength=5), [4]),
        (lambda x: torch.unique(x.abs() > 1), [1]),
        (lambda x: torch.unique_consecutive(x > 0), [2]),
        (lambda x: torch.unique_consecutive(x[:, None] > 0, dim=0), [2]),
        (lambda x: torch.unique(x[:0]), [0]),
        (lambda x: torch.linalg.lstsq(torch.diag(x), x[:, None]).solution, []),
        (lambda x: f"{x[0]:.2f}" and x + 1, [1.0]),
        (lambda x: torch.linalg.inv(torch.diag(x)) @ x, [False]),
        (lambda x: torch._assert_async(x[0] > 0) or x * 2, [True]),
    ],
)
def test_a_read_becomes_a_guard_on_its_value(program, expected: list) -> None:
    result = captured(program, X)
    assert [guard.expected for guard in result.guards] == expected
    assert readings(result, X) == expected
    assert all("test_reads.py:" in guard.source for guard in result.guards)


def test_the_longest_target_fixes_what_a_ctc_loss_keeps() -> None:
    def program(x: Tensor, lengths: Tensor) -> Tensor:
        targets = torch.ones(2, 3, dtype=torch.long)
        return F.ctc_loss(x.log_softmax(-1), targets, torch.tensor([6, 5]), lengths)

    x = torch.randn(6, 2, 4)
    result = captured(program, x, torch.tensor([2, 3]))
    assert readings(result, x, torch.tensor([2, 3])) == [guard.expected for guard in result.guards]
    assert result.guards[-1].expected == 3
    lengths = torch.tensor([3, 1])
    torch.testing.assert_close(result.module(x, lengths)[0], program(x, lengths))


@pytest.mark.parametrize("x", [X, X[:1], torch.tensor([2.0, math.nan, 2.0, math.nan]), torch.tensor([0.0, -0.0, 1.0])])
def test_the_number_of_distinct_values_is_one_more_than_that_of_changes(x: Tensor) -> None:
    for distinct in (torch.unique, torch.unique_consecutive):
        (guard,) = captured(distinct, x).guards
        assert guard.expected == len(distinct(x)) - 1


def test_a_guard_reads_another_value_from_other_inputs() -> None:
    result = captured(lambda x: x[x > 0].sum() * x.max().item(), X)
    assert [guard.expected for guard in result.guards] == [2, 3.0]
    assert readings(result, torch.tensor([5.0, 6.0, 7.0])) == [3, 7.0]


def test_a_value_read_twice_has_one_guard() -> None:
    def program(x: Tensor) -> Tensor:
        flag = x.sum() > 0
        return x * 2 if flag and flag else x

    assert len(captured(program, X).guards) == 1


def test_a_value_read_before_and_after_a_write_has_two_guards() -> None:
    def program(x: Tensor) -> Tensor:
        y = x.clone()
        view = y[0]
        first = view.item()
        y.add_(1)
        return y * first * view.item()

    assert [guard.expected for guard in captured(program, X).guards] == [1.0, 2.0]


def test_a_nan_that_was_read_is_expected_again() -> None:
    result = captured(lambda x: x * 2 if math.isnan(x[0].item()) else x, torch.tensor([math.nan, 1.0]))
    assert math.isnan(result.guards[0].expected)


def test_verification_refuses_a_guard_that_reads_another_value() -> None:
    result = capture(lambda x: x * 2 if x[0] > 0 else x, (X.clone(),), {})
    result.example.inputs[0][0] = -1.0
    result.example.outputs[0][0] = -2.0
    with pytest.raises(CaptureError, match=r"test_reads.py:\d+: the capture reads False, not True"):
        verify_program(result)


@pytest.mark.parametrize(
    "function", [aten.nonzero.default, aten.equal.default, aten._assert_async.msg, aten.dense_dim.default]
)
def test_numbers_sizes_and_checks_are_reads(function) -> None:
    assert is_read(function)


@pytest.mark.parametrize("function", [aten.add.Tensor, aten.unbind.int, aten.topk.default, aten.max.dim])
def test_tensors_whose_size_is_known_beforehand_are_none(function) -> None:
    assert not is_read(function)


def test_a_read_without_a_rule_is_refused_by_name() -> None:
    with pytest.raises(
        CaptureError, match=r"test_reads\.py:\d+: fxsolve cannot guard what the program reads by aten\.is_set"
    ):
        guard_read(recorder_of((X,)), aten.is_set_to.default, (X, X), {})


def test_what_says_nothing_about_values_is_no_guard() -> None:
    recorder = recorder_of((X,))
    assert guard_read(recorder, aten.is_same_size.default, (X, X[:1]), {}) is False
    assert recorder.guards == []


def test_a_literal_is_refused_only_where_a_tensor_may_be_in_it_unseen() -> None:
    one = torch.ones(1)
    check_literal(recorder_of((X,)), torch.zeros(2))  # none of one entry is known
    check_literal(recorder_of((one,)), torch.from_numpy(X.numpy()))
    checked = recorder_of((one,))
    checked.literal_is_checked = True
    check_literal(checked, torch.zeros(2))
    with pytest.raises(CaptureError, match="this constructor may read tensor values unseen"):
        check_literal(recorder_of((one,)), torch.zeros(2))
