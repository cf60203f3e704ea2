"""Writes into tensors that outlive the call: recorded as new values, from a run that starts with the old ones."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fxsolve.capture.bits import same_bits
from fxsolve.capture.capture import capture
from fxsolve.capture.effects.mutations import (
    copy_result,
    effects_of,
    is_apart,
    keep,
    note_mutations,
    restore_aliases,
    rewound,
    separate,
    write,
)
from fxsolve.capture.program import Program, attribute_of
from fxsolve.capture.verify import verify_program
from fxsolve.errors import CaptureError, SideEffectError
from fxsolve.state.memory import copy_of
from tests.capture.test_writes import SIZE, STEPS

N = 3


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def assert_recorded(program: Callable[..., Any], *args: Tensor) -> Program:
    """The recorded run changes its arguments as the program does, and its example is from before."""
    theirs, before = copy.deepcopy(args), copy.deepcopy(args)
    torch.manual_seed(0)
    expected = program(*theirs)
    torch.manual_seed(0)
    captured = capture(program, args, {})
    verify_program(captured)
    assert all(map(same_bits, args, theirs))
    assert all(map(same_bits, captured.example.inputs, before))
    results = [expected] if isinstance(expected, Tensor) else list(expected)
    assert all(map(same_bits, captured.example.outputs, results))
    written = {mutation.place: captured.example.outputs[mutation.output] for mutation in captured.mutations}
    assert written.keys() == {k for k, old in enumerate(before) if not same_bits(theirs[k], old)}
    assert all(same_bits(written[place], theirs[place]) for place in range(len(args)) if place in written)
    return captured


def places(program: Program) -> list[int | str]:
    return [mutation.place for mutation in program.mutations]


WRITES: list[Callable[[Tensor, Tensor], Any]] = [
    lambda x, y: x.add_(1),
    lambda x, y: x.copy_(y),
    lambda x, y: x[1:].mul_(y[0]),
    lambda x, y: x.t()[0].zero_(),
    lambda x, y: x.view(-1)[::2].fill_(2),
    lambda x, y: x.diagonal().copy_(y[0]),
    lambda x, y: x.__setitem__((slice(None), 1), y[0]),
    lambda x, y: x.__setitem__(y > 0, 0.5),
    lambda x, y: x.index_copy_(0, torch.tensor([2, 0]), y[:2]),
    lambda x, y: x.scatter_(1, torch.tensor([[0], [2], [1]]), 9.0),
    lambda x, y: x.masked_fill_(x > 0, 0.25),
    lambda x, y: torch.sin(y, out=x),
    lambda x, y: torch.add(x, y, out=x[:]),
    lambda x, y: torch.ops.aten._foreach_mul_([x[0], x[1]], 0.5),
    lambda x, y: x.uniform_(),
    lambda x, y: x[0].normal_(),
    lambda x, y: x.bernoulli_(y.sigmoid()),
    lambda x, y: x.detach().sub_(y),
    lambda x, y: x.data.sub_(y),
    lambda x, y: x.unbind(1)[2].exp_(),
    lambda x, y: x.as_strided((2,), (4,), 1).add_(1),
]


@pytest.mark.parametrize("write_into", WRITES)
def test_every_way_to_write_is_recorded(write_into: Callable[[Tensor, Tensor], Any]) -> None:
    def program(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        before = x * 2
        write_into(x, y)
        return before, x + y

    captured = assert_recorded(program, numbers(N, N), numbers(N, N) + 0.1)
    assert places(captured) == [0]
    assert captured.aliases == ()
    assert note_mutations(captured) == ("writes new values into input 0 after each run",)


def copies(value: tuple[Tensor, ...]) -> list[Tensor]:
    return [tensor.clone() for tensor in value]


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=5), st.integers(0, 1000))
def test_a_run_on_other_inputs_leaves_behind_what_the_program_does(steps: list, seed: int) -> None:
    def program(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        kept = []
        for number, (view_of, index, write_into, keep_it) in enumerate(steps):
            target, other = (x, y) if number % 2 else (y, x)
            view = view_of(target, index)
            write_into(view, other.sum() * 0.1)
            kept += [view] if keep_it else []
        return x, *kept, y * 2, *(view + 1 for view in kept)

    captured = capture(program, (numbers(SIZE, SIZE), numbers(SIZE, SIZE) + 1), {})
    verify_program(captured)
    effects, draws = effects_of(captured), captured.draws
    theirs = [torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(seed + k)) for k in range(2)]
    ours = copies((theirs[0], theirs[1]))
    for _ in range(2):
        torch.manual_seed(seed)
        expected = program(theirs[0], theirs[1])
        torch.manual_seed(seed)
        values = captured.module(*ours, *(draw.sample() for draw in draws))
        guards = values[len(captured.example.outputs) :]
        if any(value.item() != guard.expected for value, guard in zip(guards, captured.guards, strict=True)):
            return
        results = restore_aliases(effects, tuple(ours), write(effects, tuple(ours), values))[: len(expected)]
        assert all(map(same_bits, results, expected))
        assert all(map(same_bits, ours, theirs))
        # Of the same memory, too: what is written into an output now shows in the same places.
        for mine, original in zip(results, expected, strict=True):
            mine.fill_(0.5)
            original.fill_(0.5)
        assert all(map(same_bits, ours, theirs))


def test_a_program_that_writes_into_its_own_tensors_has_no_mutations() -> None:
    captured = assert_recorded(lambda x: x.clone().add_(1), numbers(N))
    assert captured.mutations == ()
    assert captured.example.attributes == {}
    assert note_mutations(captured) == ()
    outputs = captured.example.outputs
    assert write(effects_of(captured), captured.example.inputs, outputs) is outputs


def test_mutations_follow_the_outputs_in_the_order_of_the_first_writes() -> None:
    def program(x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        z.add_(1)
        x.mul_(z)
        z.mul_(x)
        if z.sum() > 1000:
            y.zero_()
        return x + z, y + 1

    captured = assert_recorded(program, numbers(N), numbers(N), numbers(N))
    assert [(one.place, one.output) for one in captured.mutations] == [(2, 2), (0, 3)]
    assert len(captured.guards) == 1
    assert len(captured.module(*captured.example.inputs)) == 5


class Counter(nn.Module):
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(N)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return self.norm(x) * self.count


@torch.no_grad()
@pytest.mark.parametrize("train", [True, False])
def test_state_of_a_module_is_recorded_from_before_the_run(train: bool) -> None:
    model = Counter().train(train)
    twin, x = copy.deepcopy(model), numbers(5, N)
    twin(x)
    captured = capture(model, (x,), {})
    verify_program(captured)
    statistics = ["norm.num_batches_tracked", "norm.running_mean", "norm.running_var"] if train else []
    assert places(captured) == ["count", *statistics]
    assert {place: float(value.sum()) for place, value in captured.example.attributes.items()} == {
        "count": 0.0,
        **dict(zip(statistics, (0.0, 0.0, float(N)), strict=False)),
    }
    for name, value in twin.state_dict().items():
        assert same_bits(attribute_of(captured, name), value) if name in captured.module.state_dict() else True
        assert same_bits(model.state_dict()[name], value)


@torch.no_grad()
def test_running_statistics_count_no_version() -> None:
    captured = capture(Counter(), (numbers(5, N),), {})
    counted = {mutation.place: mutation.is_counted for mutation in captured.mutations}
    assert counted == {
        "count": True,
        "norm.num_batches_tracked": True,
        "norm.running_mean": False,
        "norm.running_var": False,
    }


def test_outputs_on_written_memory_are_aliases() -> None:
    def program(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        x.add_(1)
        return x, x[1:, ::2], x.clone(), y, y[0]

    captured = assert_recorded(program, numbers(N, N), numbers(N))
    found = [(alias.output, alias.mutation, alias.view) for alias in captured.aliases]
    assert found == [(0, 0, None), (1, 0, ((2, 2), (3, 2), 3))]
    x = numbers(N, N)
    results = restore_aliases(effects_of(captured), (x, numbers(N)), captured.example.outputs)
    assert results[0] is x
    assert results[1].data_ptr() == x[1:, ::2].data_ptr()
    assert results[2] is captured.example.outputs[2]


def test_new_values_are_written_into_live_tensors() -> None:
    captured = capture(lambda x, y: y.copy_(x) + x.mul_(2), (numbers(N), torch.zeros(N)), {})
    x, y = torch.ones(N), torch.zeros(N)
    with torch.no_grad():
        outputs = captured.module(x, y)
        # The new value of y is x as it was: it must not follow x.
        written = separate(effects_of(captured), (x, y), outputs)
        write(effects_of(captured), (x, y), outputs)
    assert places(captured) == [1, 0]
    assert same_bits(y, torch.ones(N))
    assert same_bits(x, torch.full((N,), 2.0))
    assert same_bits(written[1], torch.ones(N))


def test_tensors_are_kept_and_rewound() -> None:
    live = numbers(N)
    captured = capture(lambda x: x.mul_(2), (live,), {})
    after, version = live.clone(), live._version
    with rewound(captured, (live,)):
        assert same_bits(live, captured.example.inputs[0])
        live.data.zero_()
    assert same_bits(live, after)
    kept = keep(effects_of(captured), (live,))
    live.data.zero_()
    assert same_bits(kept.swap()[0][0], torch.zeros(N))
    assert same_bits(live, after)
    assert live._version == version
    with pytest.raises(ZeroDivisionError), rewound(captured, (live,)):
        raise ZeroDivisionError
    assert same_bits(live, after)


def test_a_copy_of_a_result_is_another_tensor() -> None:
    x = numbers(N)
    (copied, number) = copy_result((x, 3))
    assert copied is not x
    assert same_bits(copied, x)
    assert number == 3


def test_an_input_on_the_memory_of_the_program_is_told_apart() -> None:
    model = Counter()
    effects = effects_of(capture(lambda x: model.count.add_(x).clone(), (torch.ones(()),), {}))
    assert is_apart(effects, (torch.ones(()),))
    assert not is_apart(effects, (model.count.detach(),))


# Refused, with nothing changed.

OTHER = torch.zeros(2 * N)
CONSTANT = OTHER[:N]


def use_both(x: Tensor) -> Tensor:
    return CONSTANT.add_(OTHER[0] + x)


def write_then_use(x: Tensor) -> Tensor:
    CONSTANT.add_(x)
    return x + OTHER[:N]


def write_twice_then_fail(x: Tensor) -> Tensor:
    x.add_(1)
    x[0].mul_(2)
    return x.resize_(2)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda x: x.resize_(2), "aten.resize_.* and changes its shape or memory"),
        (lambda x: x.set_(torch.zeros(2)), "aten.set_.* and changes its shape or memory"),
        (lambda x: x.unsqueeze_(0), "aten.unsqueeze_.* and changes its shape or memory"),
        (write_twice_then_fail, "aten.resize_"),
        (lambda x: torch.cat([x, x], out=x), "aten.cat.out .* and changes its shape"),
        (lambda x: torch.rand(N, out=x), "and draws random numbers"),
        (use_both, "constant constant_0 shares memory with constant constant_1"),
        (write_then_use, "constant constant_1 shares memory with constant constant_0"),
        (lambda x: CONSTANT.as_strided((2 * N,), (1,), 0).add_(1), "beyond its end"),
        (lambda x: torch.view_as_real(x.add_(1).to(torch.complex64)).data_ptr(), "data_ptr"),
        (lambda x: x.add_(1).view(torch.int32), "output 0 is input 0 read as another type"),
        (lambda x: (x.add_(1), object()), "returns a object"),
        (lambda x: x.add_(1) * torch.poisson(x.abs()), "no rule to draw"),
    ],
)
def test_a_write_that_cannot_be_made_again_is_refused_and_undone(program, message: str) -> None:
    x = numbers(N)
    before, version, shape = copy_of(x), x._version, x.shape
    with pytest.raises(CaptureError, match=message):
        capture(program, (x,), {})
    assert x.shape == shape
    assert x._version >= version
    assert same_bits(x, before)
    assert same_bits(OTHER, torch.zeros(2 * N))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, N).expand(2, N), "share memory or leave gaps"),
        (torch.zeros(N, 4)[:, ::2], "share memory or leave gaps"),
        (torch.zeros(N, dtype=torch.complex64).conj(), "not what its memory holds"),
    ],
)
def test_a_write_into_an_unusual_tensor_is_refused(x: Tensor, message: str) -> None:
    with pytest.raises(SideEffectError, match=rf"test_mutations.py:\d+: .* writes into input 0.* {message}"):
        capture(lambda x: x[0].add_(1), (x,), {})
    assert not x.any()


def test_a_write_of_values_that_want_gradients_is_refused() -> None:
    weight, state = torch.ones(N, requires_grad=True), torch.zeros(N)
    for program in (lambda x: state.add_(x * weight), lambda x: torch.ops.aten._foreach_add_([state], [x * weight])):
        with pytest.raises(SideEffectError, match=r"writes into constant .*lets gradients flow through it"):
            capture(program, (numbers(N),), {})
    assert not state.requires_grad
    assert not state.any()
    with torch.no_grad():
        captured = capture(lambda x: state.add_(x * weight).sum(), (numbers(N),), {})
    verify_program(captured)
    assert not captured.grad


def test_a_leaf_that_wants_gradients_is_written_into_under_no_grad() -> None:
    weight = torch.ones(N, requires_grad=True)

    def program(x: Tensor) -> Tensor:
        with torch.no_grad():
            weight.sub_(x * 0.1)
            return weight * 2

    before = weight.detach().clone()
    captured = capture(program, (numbers(N),), {})
    verify_program(captured)
    assert same_bits(captured.example.attributes["constant_0"], before)
    assert weight.is_leaf
    assert weight.requires_grad


def test_a_custom_function_that_marks_an_input_dirty_is_refused() -> None:
    class Bump(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
            x.add_(weight)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
            return gradient, gradient

    x, weight = torch.zeros(N), torch.ones(N, requires_grad=True)
    with pytest.raises(SideEffectError, match="makes input 0 another kind of tensor"):
        capture(lambda x: Bump.apply(x, weight), (x,), {})
    assert not x.requires_grad
    assert not x.any()


def test_a_write_that_cannot_be_followed_is_undone() -> None:
    @torch.library.custom_op("fxsolve_test::bump_input_", mutates_args=("x",))
    def bump_(x: Tensor) -> None:
        x.add_(1)

    x = torch.zeros(N)
    with pytest.raises(CaptureError, match=r"in-place writes of this program cannot be followed: .*bump_input_"):
        capture(lambda x: bump_(x), (x,), {})
    assert not x.any()


def test_inference_tensors_are_written_into() -> None:
    with torch.inference_mode():
        assert_recorded(lambda x: x.add_(1) * 2, numbers(N))
