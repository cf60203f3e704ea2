"""A tensor that Python reads as a list or as a NumPy array is guarded by all of its values."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.capture.capture import capture
from fxsolve.capture.program import Program
from fxsolve.capture.record.arrays import Arrays
from fxsolve.capture.verify import verify_program
from fxsolve.errors import CaptureError
from tests.capture.recording import recorder_of

X = torch.tensor([1.0, -2.0, 3.0])
OUTER = torch.tensor([2.0, 4.0])
N = 4
torch.manual_seed(0)
WEIGHT = torch.randn(N, N) / 2


def captured(program, *args) -> Program:
    result = capture(program, args, {})
    verify_program(result)
    return result


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (lambda x: x * x.tolist()[1], (1.0, -2.0, 3.0)),
        (lambda x: x * (x > 0).tolist()[0], (True, False, True)),
        (lambda x: x * x.long().reshape(3, 1).tolist()[2][0], (1, -2, 3)),
        (lambda x: x * float(x.numpy().sum()), (1.0, -2.0, 3.0)),
        (lambda x: x * torch.from_numpy(np.asarray(x) * 2), (1.0, -2.0, 3.0)),
        (lambda x: x * float(x.__array__(np.float64)[0]), (1.0, -2.0, 3.0)),
        (lambda x: x * x[0].tolist(), (1.0,)),
        (lambda x: x * OUTER.tolist()[0], (2.0, 4.0)),
        (lambda x: x * x[:0].numpy().sum(), None),
    ],
)
def test_all_values_are_guarded(program, expected) -> None:
    guards = captured(program, X).guards
    assert [guard.expected for guard in guards] == ([] if expected is None else [expected])
    assert all("test_arrays.py:" in guard.source for guard in guards)


def test_a_parameter_that_is_read_is_guarded() -> None:
    model = nn.Linear(1, 2)
    with torch.no_grad():
        result = captured(lambda x: x * model.weight.tolist()[0][0], X)
    assert result.guards[0].expected == tuple(model.weight.detach().flatten().tolist())


def test_numpy_raises_what_torch_raises() -> None:
    with pytest.raises(RuntimeError, match="requires grad"):
        capture(lambda x: x * (x * 2).numpy().sum(), (X.clone().requires_grad_(),), {})


@pytest.mark.parametrize(
    "write",
    [
        lambda x, array: x.add_(1),
        lambda x, array: x.data.add_(1),
        lambda x, array: x[0:1].mul_(2),
        lambda x, array: array.__setitem__(0, 5.0),
        lambda x, array: array[1:].fill(0.0),
    ],
)
def test_memory_that_a_tensor_shares_with_its_array_is_not_written(write) -> None:
    def program(x: Tensor) -> Tensor:
        x = x + 1
        array = x.numpy()
        write(x, array)
        return x * float(array[0])

    with pytest.raises(CaptureError, match=r"test_arrays.py:\d+: the program writes into .* copy of it|clone of it"):
        capture(program, (X,), {})


def test_a_copy_of_an_array_may_be_written() -> None:
    def program(x: Tensor) -> Tensor:
        array = x.numpy().copy()
        array[0] = 7.0
        return x * torch.from_numpy(array)

    assert torch.equal(captured(program, X).example.outputs[0], torch.tensor([7.0, 4.0, 9.0]))


def rolled(x: Tensor, order: Tensor) -> Tensor:
    for t in order.tolist():
        x = torch.tanh(x @ WEIGHT + t / 10)
    return x


def switched(x: Tensor, order: Tensor) -> Tensor:
    for _ in range(6):
        signs = torch.sign(x).mean(0).numpy()
        x = torch.tanh(x @ WEIGHT + 0.1 * float(np.round(signs[0])))
    return x + order[0]


@pytest.mark.parametrize("program", [rolled, switched])
def test_a_loop_over_values_is_recorded_once_for_each_of_them(program) -> None:
    fast = fxsolve.compile(program, backend="eager", schedule="gs")
    x, orders = torch.rand(3, N), (torch.arange(6), torch.arange(6).flip(0))
    with torch.no_grad():
        for _ in range(3):
            for order in orders:
                assert torch.equal(fast(x, order), program(x, order))
        assert str(fast.schedule) != "original"
        assert fast.report().guards == (1 if program is rolled else 6)
        assert len(fast.entries) == (2 if program is rolled else 1)
        for sign in (1, -1):
            assert torch.equal(fast(sign * x, orders[0]), program(sign * x, orders[0]))


def test_a_program_that_writes_into_an_array_runs_as_it_is_written() -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(6):
            x = torch.tanh(x @ WEIGHT)
        x.numpy()[0, 0] = 1.0
        return x * 2

    fast = fxsolve.compile(program, backend="eager")
    with torch.no_grad():
        x = torch.rand(3, N)
        for _ in range(2):
            assert torch.equal(fast(x), program(x))
    assert "writes into the NumPy array of a tensor" in fast.report().reason


def test_an_array_is_one_of_a_copy_and_closes_the_line_and_a_list_does_not() -> None:
    x, arrays = X.clone(), Arrays()
    recorder = recorder_of((x,))
    assert arrays.read(recorder, Tensor.tolist, (x,), {}) == X.tolist()
    assert recorder.line.is_open
    array = arrays.read(recorder, Tensor.numpy, (x,), {})
    assert not recorder.line.is_open
    assert not np.shares_memory(array, x.numpy())
    assert [guard.expected for guard in recorder.guards] == 2 * [tuple(X.tolist())]


@pytest.mark.parametrize("write", [lambda x: x.add_(0), lambda x: x.data.neg_(), lambda x: x.numpy().fill(0)])
def test_a_tensor_that_is_written_after_it_was_read_as_an_array_is_noticed(write) -> None:
    x, arrays = X.clone(), Arrays()
    arrays.read(recorder_of((x,)), Tensor.numpy, (x,), {})
    assert arrays.changed() is None
    write(x)
    error = arrays.changed()
    assert isinstance(error, CaptureError)
    assert "writes into a tensor that it has read as a NumPy array" in str(error)


def test_an_error_of_numpy_is_explained_only_if_it_is_about_such_an_array() -> None:
    x, arrays, error = X.clone(), Arrays(), ValueError("assignment destination is read-only")
    assert arrays.explain(error) is None
    array = arrays.read(recorder_of((x,)), Tensor.numpy, (x,), {})
    with pytest.raises(ValueError, match="read-only") as caught:
        array[0] = 1
    assert "write into a copy of it" in str(arrays.explain(caught.value))
    assert arrays.explain(ValueError("too many values to unpack")) is None
    assert arrays.explain(TypeError("read-only")) is None
