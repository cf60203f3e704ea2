"""Random programs of views and in-place writes: the functional graph equals the program, with nothing run twice."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from fxsolve.capture.bits import same_bits
from fxsolve.capture.capture import capture
from fxsolve.capture.communication import Line
from fxsolve.capture.functional.functionalize import functionalize
from fxsolve.capture.record.record import record
from fxsolve.capture.verify import verify_program
from fxsolve.errors import CaptureError
from fxsolve.state.stores import NO_LIVE

SIZE = 4
VIEWS: list[Callable[[Tensor, int], Tensor]] = [
    lambda x, i: x[i],
    lambda x, i: x[:, i],
    lambda x, i: x[i:],
    lambda x, i: x.t(),
    lambda x, i: x.diagonal(),
    lambda x, i: x.view(-1)[i::SIZE],
    lambda x, i: x.unsqueeze(0).expand(1, SIZE, SIZE)[0],
    lambda x, i: x.split(2)[i % 2],
    lambda x, i: x.unbind(1)[i],
]
WRITES: list[Callable[[Tensor, Tensor], Tensor]] = [
    lambda view, value: view.add_(value),
    lambda view, value: view.mul_(0.5),
    lambda view, value: view.copy_(value),
    lambda view, value: view.zero_(),
    lambda view, value: view.fill_(value),
    lambda view, value: view.uniform_(),
    lambda view, value: view.masked_fill_(view > 0, 0.25),
    lambda view, value: view.clamp_(max=1.0),
    lambda view, value: torch.sin(view, out=view),
    lambda view, value: view[view > 0.5].neg_(),
]
STEPS = st.tuples(st.sampled_from(VIEWS), st.integers(0, SIZE - 1), st.sampled_from(WRITES), st.booleans())


def writer(steps: list) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Write into views of a clone of x; a kept view is read again at the end."""

    def program(x: Tensor) -> tuple[Tensor, ...]:
        x, kept = x.clone(), []
        for view_of, index, write, keep in steps:
            view = view_of(x, index)
            write(view, x.sum() * 0.1)
            kept += [view] if keep else []
        return x, x + 1, *kept, *(view * 2 for view in kept)

    return program


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=5), st.integers(0, 1000))
def test_the_functional_graph_equals_the_writes(steps: list, seed: int) -> None:
    program, x = writer(steps), torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    torch.manual_seed(seed)
    expected = program(x)
    torch.manual_seed(seed)
    captured = capture(program, (x,), {})
    verify_program(captured)
    assert all(map(same_bits, captured.example.outputs, expected))


def test_a_record_without_writes_is_not_replayed() -> None:
    raw = record(torch.sin, (torch.ones(2),), {}, NO_LIVE, Line())
    assert functionalize(raw) is raw


def test_functionalizing_computes_nothing() -> None:
    class Count(TorchDispatchMode):
        computed = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            tensors = result if isinstance(result, (tuple, list)) else [result]
            Count.computed += sum(t.numel() for t in tensors if isinstance(t, Tensor) and t.device.type != "meta")
            return result

    raw = record(writer([(VIEWS[1], 0, WRITES[0], True)]), (torch.ones(SIZE, SIZE),), {}, NO_LIVE, Line())
    with Count():
        functionalize(raw)
    assert Count.computed == 0


@pytest.mark.parametrize("grad", [True, False])
def test_a_column_write_is_one_scatter_without_a_copy(grad: bool) -> None:
    def program(x: Tensor) -> Tensor:
        y = torch.zeros(3, 2)
        for i in range(2):
            y[:, i] = x[i] * 2
        return y

    with torch.set_grad_enabled(grad):
        captured = capture(program, (torch.randn(2, 3, requires_grad=True),), {})
    verify_program(captured)
    calls = [n.target for n in captured.module.graph.nodes if isinstance(n.target, OpOverload)]
    assert calls.count(torch.ops.aten.select_scatter.default) == 2
    assert torch.ops.aten.copy.default not in calls


def test_a_write_that_cannot_be_followed_is_refused_and_the_generator_is_put_back() -> None:
    @torch.library.custom_op("fxsolve_test::bump_", mutates_args=("x",))
    def bump_(x: Tensor) -> None:
        x.add_(1)

    def program() -> Tensor:
        x = torch.rand(3) * 2
        bump_(x)
        return x

    state = torch.get_rng_state()
    with pytest.raises(CaptureError, match=r"in-place writes of this program cannot be followed: .*bump_"):
        capture(program, (), {})
    assert torch.equal(torch.get_rng_state(), state)


def test_calls_name_the_real_device() -> None:
    captured = capture(writer([(VIEWS[0], 1, WRITES[4], False)]), (torch.ones(SIZE, SIZE),), {})
    devices = {v for n in captured.module.graph.nodes for v in n.kwargs.values() if isinstance(v, torch.device)}
    specs = {n.meta["spec"].device for n in captured.module.graph.nodes if hasattr(n.meta.get("spec"), "device")}
    assert specs == {torch.device("cpu")}
    assert devices <= specs


def test_parts_of_an_unbind_after_a_write_share_one_unbind() -> None:
    def program(x: Tensor) -> Tensor:
        times = x * 2
        times[-1] = x[0]
        total = torch.zeros(())
        for low, high in zip(times[:-1], times[1:], strict=True):  # noqa: RUF007  two unbinds, not one
            total = total + (high - low) * low
        return total

    def count(length: int) -> int:
        x = torch.arange(float(length))
        result = capture(program, (x,), {})
        assert torch.equal(result.module(x)[0], program(x))
        return sum(node.target is torch.ops.aten.unbind.int for node in result.module.graph.nodes)

    assert count(5) == count(9)
