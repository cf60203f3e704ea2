"""A declared length: a long first call is recorded at two short lengths, and not at its own."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import fxsolve
from fxsolve.errors import InputError

N = 4
CELL = nn.GRUCell(N, N)
torch.manual_seed(0)
WEIGHT = torch.randn(N, N) / 2


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def recurrence(x: Tensor) -> Tensor:
    h, states = x.new_zeros(x.shape[1], N), []
    for x_t in x:
        h = CELL(x_t, h)
        states.append(h)
    return torch.stack(states)


def backwards(x: Tensor) -> tuple[Tensor, Tensor]:
    h, states = torch.zeros_like(x[0]), []
    for t in reversed(range(len(x))):
        h = CELL(x[t], h)
        states.append(h)
    return torch.stack(states[::-1]), h


def filled(x: Tensor) -> Tensor:
    out, h = torch.zeros_like(x), x[0]
    for t in range(len(x)):
        h = torch.tanh(h @ WEIGHT + x[t])
        out[t] = h
    return out


def noisy(x: Tensor) -> Tensor:
    h = torch.randn(x.shape[1], N)
    for t in range(len(x)):
        h = torch.tanh(h + x[t] + torch.randn(x.shape[1], N))
    return h


def step_size(x: Tensor) -> Tensor:
    h, dt = x[0], 1 / len(x)
    for t in range(len(x)):
        h = h + dt * torch.tanh(h @ WEIGHT + x[t] * (t * dt))
    return h


def time_grid(x: Tensor) -> Tensor:
    h, times = x[0], torch.linspace(0, 1, len(x))
    for t in range(len(x)):
        h = torch.tanh(h @ WEIGHT + x[t] * times[t])
    return h


def literal_grid(x: Tensor) -> Tensor:
    h, times = x[0], torch.tensor([t / len(x) for t in range(len(x))])
    for t in range(len(x)):
        h = torch.tanh(h @ WEIGHT + x[t] * times[t])
    return h


def literals(x: Tensor) -> Tensor:
    h = x[0]
    for t in range(len(x)):
        h = torch.tanh(h @ WEIGHT + x[t] * torch.tensor([float(t)]))
    return h


def permuted(x: Tensor) -> Tensor:
    h = x[0]
    for t in [(7 * t + 3) % len(x) for t in range(len(x))]:
        h = torch.tanh(h @ WEIGHT + x[t])
    return h


def clamped(x: Tensor) -> Tensor:
    h = x[0]
    for t in range(len(x)):
        h = torch.clamp(torch.tanh(h @ WEIGHT + x[t]), max=min(len(x), 50) / 50)
    return h


PROGRAMS = [
    recurrence, backwards, filled, noisy, step_size, time_grid, literal_grid, literals, permuted, clamped,
]  # fmt: skip


def compiled(program, shapes) -> fxsolve.Compiled:
    return fxsolve.compile(program, backend="eager", schedule="gs", dynamic_shapes=shapes)


def stages(fast: fxsolve.Compiled) -> dict[str, float]:
    return dict(fast.report().seconds)


def assert_equal(found: object, expected: object) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def run(program, *args):
    """The result of a program, and the state in which it leaves the generator."""
    torch.manual_seed(1)
    return program(*args), torch.get_rng_state()


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_length_is_recorded(program) -> None:
    fast = compiled(program, {"x": {0: Dim("time")}})
    for length in (120, 1, 2, 3, 41, 163):
        for _ in range(2):  # the call that is checked, and one that runs what was emitted
            x = torch.randn(length, 2, N)
            assert_equal(run(fast, x), run(program, x))
        assert "capture" not in stages(fast)
        assert ("rehearse" in stages(fast)) == (length == 120)
        assert str(fast.schedule) != "original"
        assert {loop.length for loop in fast.report().loops} == {length}
        assert any("checked against one run of the program, which took" in note for note in fast.report().notes)


def test_a_long_call_costs_less_than_half_of_a_recording() -> None:
    x = torch.randn(1000, 2, N)
    fast, recorded = compiled(filled, ({0: "time"},)), fxsolve.compile(filled, backend="eager", schedule="gs")
    for each in (fast, recorded):
        each(x)
    spent, saved = stages(fast), stages(recorded)
    assert spent["run"] + spent["rehearse"] < (saved["capture"] + saved["partition"]) / 2


def test_the_batch_may_change_too() -> None:
    fast = compiled(filled, {"x": {0: Dim("time"), 1: Dim("batch")}})
    for length, batch in ((120, 30), (60, 90)):
        for _ in range(2):
            x = torch.randn(length, batch, N)
            assert torch.equal(fast(x), filled(x))
        assert "capture" not in stages(fast)
        assert fast.report().runs
        assert any("lengths 8 and 16" in note or "lengths 12 and 20" in note for note in fast.report().notes)


@pytest.mark.parametrize("size", [Dim.AUTO, Dim.DYNAMIC, "time", Dim("time", min=2, max=5000)])
def test_every_way_to_declare_a_size(size) -> None:
    x = torch.randn(100, 2, N)
    for shapes in ({"x": {0: size}}, ({0: size},), [(size, None, None)], {"x": {-3: size, 2: Dim.STATIC, 1: 2}}):
        fast = compiled(recurrence, shapes)
        assert torch.equal(fast(x), recurrence(x))
        assert "rehearse" in stages(fast)


def test_sizes_derived_from_one_another() -> None:
    def program(x: Tensor, y: Tensor) -> Tensor:
        h = y[0]
        for t in range(len(x)):
            h = torch.tanh(h @ WEIGHT + x[t] + y[2 * t + 1])
        return h

    time = Dim("time")
    fast = compiled(program, {"x": {0: time}, "y": {0: 2 * time + 1}})
    for length in (100, 33):
        for _ in range(2):
            x, y = torch.randn(length, 2, N), torch.randn(2 * length + 1, 2, N)
            assert torch.equal(fast(x, y), program(x, y))
        assert "capture" not in stages(fast)
        assert fast.report().runs


def test_sizes_inside_of_containers_and_of_keywords() -> None:
    def program(pair: tuple[Tensor, dict[str, Tensor]], *rest: Tensor, start: Tensor, scale: float = 1.0) -> Tensor:
        x, others, h = pair[0], pair[1], start
        for t in range(len(x)):
            h = torch.tanh(h * scale + x[t] + others["y"][:, t] + rest[0][t])
        return h

    time = Dim("time")
    fast = compiled(program, {"pair": ({0: time}, {"y": {1: time}}), "rest": ({0: time},)})
    for length in (90, 40):
        for _ in range(2):
            x, y, z = torch.randn(length, 2, N), torch.randn(2, length, N), torch.randn(length, 2, N)
            options = {"start": torch.randn(2, N), "scale": 0.5}
            assert torch.equal(fast((x, {"y": y}), z, **options), program((x, {"y": y}), z, **options))
        assert "capture" not in stages(fast)
        assert fast.report().runs


def test_a_declared_integer() -> None:
    def program(x: Tensor, steps: int) -> Tensor:
        for _ in range(steps):
            x = x + torch.tanh(x @ WEIGHT) / steps
        return x

    fast = compiled(program, {"steps": Dim("steps")})
    for steps in (200, 1, 2, 3, 77):
        x = torch.randn(2, N)
        for _ in range(2):
            assert torch.equal(fast(x, steps), program(x, steps))
        assert "capture" not in stages(fast)


def test_transposed_and_expanded_arguments() -> None:
    fast = compiled(recurrence, ({0: "time"},))
    for draw in (lambda: torch.randn(2, 100, N).transpose(0, 1), lambda: torch.randn(100, 1, N).expand(100, 3, N)):
        for _ in range(2):
            x = draw()
            assert torch.equal(fast(x), recurrence(x))
        assert "capture" not in stages(fast)
        assert fast.report().runs


def test_short_recordings_leave_no_trace() -> None:
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor, generator: torch.Generator) -> Tensor:
            self.calls += 1
            x[0] += 1
            return noisy(x) + torch.rand(N, generator=generator)

    model = Counted()
    original, fast = copy.deepcopy(model), compiled(model, ({0: "time"}, None))
    x, generator = torch.randn(100, 2, N), torch.Generator().manual_seed(3)
    x_original, generator_original = x.clone(), torch.Generator().manual_seed(3)
    for _ in range(2):
        assert_equal(run(fast, x, generator), run(original, x_original, generator_original))
        assert torch.equal(model.calls, original.calls)
        assert torch.equal(x, x_original)
        assert torch.equal(generator.get_state(), generator_original.get_state())
    assert any("in spite of dynamic_shapes" in note for note in fast.report().notes)


def test_a_program_that_fails_on_short_arguments_is_recorded_at_its_own_length() -> None:
    def program(x: Tensor) -> Tensor:
        if len(x) < 90:
            raise ValueError("too short")
        return filled(x)

    fast = compiled(program, ({0: "time"},))
    x = torch.randn(100, 2, N)
    assert torch.equal(fast(x), program(x))
    assert "capture" in stages(fast)
    assert any("raised ValueError: too short" in note for note in fast.report().notes)


def test_other_calls_at_a_long_length_are_noticed_whatever_their_values() -> None:
    def program(x: Tensor) -> Tensor:
        h = filled(x)
        return h.clamp(max=100.0) if len(x) > 80 else h

    fast = compiled(program, ({0: "time"},))
    x = torch.randn(100, 2, N)
    assert torch.equal(fast(x), program(x))
    assert any("more calls at this length" in note for note in fast.report().notes)
    assert torch.equal(fast(1000 * x), program(1000 * x))


def test_a_branch_on_values_at_a_long_length_only_is_noticed() -> None:
    def program(x: Tensor) -> Tensor:
        h = filled(x)
        return -h if len(x) > 80 and x[0, 0, 0] > 0 else h

    fast = compiled(program, ({0: "time"},))
    x = torch.randn(100, 2, N)
    for sign in (-1.0, 1.0):
        x[0, 0, 0] = sign
        for _ in range(2):
            assert torch.equal(fast(x), program(x))


def test_a_write_into_an_argument_at_a_long_length_only_happens_once() -> None:
    def program(x: Tensor) -> Tensor:
        if len(x) > 80:
            x.add_(1)
        return filled(x)

    fast = compiled(program, ({0: "time"},))
    x = torch.randn(100, 2, N)
    expected = x.clone()
    for _ in range(2):
        assert torch.equal(fast(x), program(expected))
        assert torch.equal(x, expected)


def test_a_copy_keeps_the_declaration() -> None:
    fast = compiled(nn.Linear(2, 2), ({0: Dim("time", max=9)},))
    for again in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        with pytest.raises(InputError, match="time was declared from 0 to 9"):
            again(torch.randn(10, 2))


def program_of_two(x: Tensor, y: Tensor) -> Tensor:
    return x.sum() + y.sum()


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": {0: "time"}}, "names 'z'; the arguments of this call are x, y"),
        (({0: "time"},), "has 1 entries, and this call 2 arguments"),
        ({"x": {2: "time"}}, "x has 2 dimensions, none of them is 2"),
        ({"x": ("time",)}, "x has 2 dimensions, and 1 are declared"),
        ({"x": "time"}, "x is a tensor; declare a dict of its dimensions"),
        ({"x": {0: "time"}, "y": {0: "time"}}, "time is 5, but 6 at y"),
        ({"x": {0: Dim("time", min=7)}}, "in dimension 0 is 5; time was declared from 7"),
        ({"x": {0: 2 * Dim("time")}}, r"is 5, not 2 \* time \+ 0"),
    ],
)
def test_a_declaration_that_does_not_fit_the_call_is_an_error(shapes, message: str) -> None:
    fast = compiled(program_of_two, shapes)
    with pytest.raises(InputError, match=message):
        fast(torch.randn(5, 3), torch.randn(6, 3))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [(3, "dynamic_shapes is a int; it must be a dict"), ({"x": {0: 1.5}}, "dynamic_shapes holds a float")],
)
def test_what_is_no_declaration_is_refused_at_once(shapes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        compiled(recurrence, shapes)
