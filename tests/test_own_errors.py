"""Errors of the program itself: the original's are raised, nothing is printed, and what was compiled goes on."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import fxsolve
from fxsolve.runtime import entry, patience
from fxsolve.runtime.compiled import Compiled
from tests.test_compile import numbers

T, B, N, WORDS = 12, 3, 5, 11


class Cell(nn.Module):
    """h = tanh(mix(h) + what(t)) for T steps."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.words = nn.Linear(N, N), nn.Embedding(WORDS, N)

    def run(self, what: Callable[[int], Tensor]) -> Tensor:
        h = self.words.weight.new_zeros(B, N)
        for t in range(T):
            h = torch.tanh(self.mix(h) + what(t))
        return h


class Tokens(Cell):
    def forward(self, ids: Tensor) -> Tensor:
        return self.run(lambda t: self.words(ids[:, t]))


class Classes(Cell):
    def forward(self, ids: Tensor) -> Tensor:
        return self.run(lambda t: functional.one_hot(ids[:, t], N))


class Checked(Cell):
    def forward(self, x: Tensor) -> Tensor:
        if x.isnan().any():
            raise ValueError("not a number was given")
        return self.run(lambda t: x[t])


class Targets(Cell):
    def forward(self, ids: Tensor) -> Tensor:
        h, loss = ids.new_zeros((B, N), dtype=self.mix.weight.dtype), self.mix.weight.new_zeros(())
        for t in range(T):
            h = torch.tanh(self.mix(h))
            loss = loss + functional.cross_entropy(h, ids[:, t])
        return loss


class Keeping(Cell):
    """Draws, counts, writes into a buffer and keeps its state."""

    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(N))
        self.calls, self.last = 0, None

    def forward(self, ids: Tensor) -> Tensor:
        self.calls += 1
        self.total.add_(1.0)
        start = torch.rand(B, N)
        h = self.run(lambda t: self.words(ids[:, t]) * start)
        self.last = h.detach()
        self.total.add_(self.last.mean(0))
        return h


def pick(ids: Tensor) -> Tensor:
    table, total = torch.linspace(-1, 1, 6), torch.zeros(B)
    for t in range(T):
        total = torch.tanh(total) + table.gather(0, ids[:, t])
    return total


def divide(ids: Tensor) -> Tensor:
    k = torch.tensor([100, 200, 300])
    for t in range(T):
        k = k // ids[:, t] + 7
    return k


def cholesky(p: Tensor) -> Tensor:
    for _ in range(T):
        lower = torch.linalg.cholesky(p)
        p = 0.8 * (lower @ lower.mT) + 0.2 * torch.eye(N, dtype=p.dtype)
    return p


def solve(p: Tensor) -> Tensor:
    x = p[0]
    for _ in range(T):
        x = torch.tanh(torch.linalg.solve(p, x))
    return x


def tokens(good: bool) -> Tensor:
    """Of all rows 1 to B in each column: `one_hot` reads the smallest and the largest one."""
    return torch.rand(B, T).argsort(0) + 1 if good else torch.full((B, T), WORDS)


def divisors(good: bool) -> Tensor:
    return torch.randint(1, 5, (B, T)) if good else torch.zeros(B, T, dtype=torch.int64)


def floats(good: bool) -> Tensor:
    return numbers(T, B, N) if good else torch.full((T, B, N), torch.nan)


def matrices(good: bool) -> Tensor:
    return (3.0 + torch.rand(1)) * torch.eye(N) if good else torch.zeros(N, N)


CASES = {
    "a token out of range": (Tokens, tokens),
    "a class out of range": (Classes, tokens),
    "a target out of range": (Targets, tokens),
    "an index out of range": (lambda: pick, tokens),
    "a zero divisor": (lambda: divide, divisors),
    "a matrix that is not positive definite": (lambda: cholesky, matrices),
    "a singular matrix": (lambda: solve, matrices),
    "a check in Python": (Checked, floats),
}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """One item for each recording that was begun."""
    begun: list[Any] = []
    real = entry.capture

    def count(*given: Any) -> Any:
        begun.append(given)
        return real(*given)

    monkeypatch.setattr(entry, "capture", count)
    return begun


def compiled(program: Any, schedule: str = "gs", **options: Any) -> Compiled:
    return fxsolve.compile(program, schedule=schedule, backend="eager", **options)


def error_of(program: Any, *args: Any) -> tuple[type, str]:
    """The error that a call raises, which came from no other one."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        program(*args)
    assert caught.value.__context__ is None
    return type(caught.value), str(caught.value)


def twins(make: Callable[[], Any]) -> tuple[Any, Any]:
    """Two equal programs."""
    torch.manual_seed(0)
    one = make()
    torch.manual_seed(0)
    return one, make()


@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@pytest.mark.parametrize(("make", "draw"), CASES.values(), ids=CASES.keys())
def test_bad_inputs_raise_the_programs_error_and_what_was_compiled_goes_on(
    make: Any, draw: Any, schedule: str, grad: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    model, own = twins(make)
    fast = compiled(model, schedule)
    with torch.set_grad_enabled(grad):
        fast(draw(True))
        torch.testing.assert_close(fast(x := draw(True)), own(x))
        before = fast.graph_module
        assert before is not None
        for _ in range(6):  # more than the calls in a row after which a signature is given up
            bad = draw(False)
            assert error_of(fast, bad) == error_of(own, bad)
        for _ in range(2):
            torch.testing.assert_close(fast(x := draw(True)), own(x))
    assert fast.graph_module is before
    assert fast.report().status == "emitted"
    assert len(fast.entries) == 1
    assert capfd.readouterr() == ("", "")


def test_state_and_generators_after_an_error_are_those_of_the_program() -> None:
    model, own = twins(Keeping)
    fast = compiled(model)
    with torch.no_grad():
        for k, good in enumerate([True, True, True, False, True, False, False, True]):
            ids = tokens(good)
            results, states = [], []
            for program in (fast, own):
                torch.manual_seed(k)
                results.append(program(ids) if good else error_of(program, ids))
                states.append(torch.get_rng_state())
            assert torch.equal(*states)
            assert torch.equal(*results) if good else results[0] == results[1]
            assert model.calls == own.calls == k + 1
            assert torch.equal(model.total, own.total)
            assert torch.equal(model.last, own.last)
    assert fast.report().status == "emitted"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", ["a token out of range", "a class out of range", "a check in Python"])
def test_after_errors_the_first_good_call_is_recorded(name: str, count: int) -> None:
    make, draw = CASES[name]
    model, own = twins(make)
    fast = compiled(model)
    with torch.no_grad():
        for _ in range(count):
            assert error_of(fast, draw(False)) == error_of(own, draw(False))
            assert fast.entries == ()
        for _ in range(2):
            assert torch.equal(fast(x := draw(True)), own(x))
    assert fast.report().status == "emitted"


def test_a_program_that_always_raises_is_recorded_a_few_times_only(recorded: list[Any]) -> None:
    model, own = twins(Tokens)
    fast = compiled(model)
    with torch.no_grad():
        for rows in range(1, 30):
            bad = torch.full((B, T), WORDS + rows)
            assert error_of(fast, bad) == error_of(own, bad)
        assert len(recorded) == patience._MAX_LOST
        assert torch.equal(fast(x := tokens(True)), own(x))
        assert "4 recordings in a row ended in an error of the program" in fast.report().reason
        for _ in range(2):
            assert torch.equal(fast(x := tokens(True)), own(x))
    assert fast.report().status == "emitted"
    assert len(recorded) == patience._MAX_LOST + 1


def test_the_more_recordings_are_lost_the_more_calls_must_go_well_first(recorded: list[Any]) -> None:
    fast = compiled(Tokens())
    with torch.no_grad():
        for _ in range(100):  # as unlucky as can be: whatever is recorded raises
            before = len(recorded)
            error_of(fast, tokens(False))
            if len(recorded) == before:
                fast(tokens(True))
    assert 8 < len(recorded) < 20


def test_a_version_is_recorded_for_other_values_that_are_read_after_errors_were() -> None:
    def program(x: Tensor) -> Tensor:
        if x.isnan().any():
            raise ValueError("not a number was given")
        h, scale = torch.zeros_like(x[0]), 0.5 if x.sum() > 0 else 2.0
        for row in x:
            h = torch.tanh(h * scale + row)
        return h

    fast, x = compiled(program), numbers(T, B, N).abs()
    fast(x)
    for _ in range(3):
        assert error_of(fast, floats(False)) == (ValueError, "not a number was given")
    for _ in range(2):
        assert torch.equal(fast(-x), program(-x))
        assert torch.equal(fast(x), program(x))
    assert [one.status for one in fast.entries] == ["emitted", "emitted"]


class _Weighted(torch.autograd.Function):
    """The gradient is weighted by entries of a table: only the backward pass looks them up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ids: Tensor) -> Tensor:  # pyright: ignore
        ctx.save_for_backward(ids)
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # pyright: ignore
        (ids,) = ctx.saved_tensors
        return gradient * torch.linspace(0.5, 1.5, WORDS, dtype=gradient.dtype)[ids], None


class Backward(Cell):
    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        return self.run(lambda t: _Weighted.apply(x[t], ids[t]))  # pyright: ignore


def gradients(program: Any, *args: Any) -> Any:
    result = program(*args)
    return torch.autograd.grad(result.square().sum(), [*args[:1], *program.mix.parameters()])


def test_an_error_of_the_backward_pass_is_the_programs_own(capfd: pytest.CaptureFixture[str]) -> None:
    model, own = twins(Backward)
    fast, x = compiled(model), numbers(T, B, N).float().requires_grad_()
    for good in (True, True, False, False, True, True):
        ids = torch.randint(0, 5, (T, B, N)) if good else torch.full((T, B, N), WORDS)
        if good:
            torch.testing.assert_close(gradients(fast, x, ids), gradients(own, x, ids))
        else:
            assert error_of(gradients, fast, x, ids) == error_of(gradients, own, x, ids)
        assert fast.report().status == "emitted"
    assert len(fast.entries) == 1
    assert capfd.readouterr() == ("", "")


def test_a_backward_pass_that_raises_alone_gives_way_to_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    model, own = twins(Tokens)
    fast, ids = compiled(model), tokens(True)
    fast(ids)
    ready: Any = fast._runtime.latest.entry.ready  # pyright: ignore[reportOptionalMemberAccess]
    monkeypatch.setattr(ready.emitted.passes.backward, "forward", lambda *given: 1 / 0)
    for _ in range(2):
        found = torch.autograd.grad(fast(ids).sum(), list(model.parameters()))
        torch.testing.assert_close(found, torch.autograd.grad(own(ids).sum(), list(own.parameters())))
    assert "internal error in the emitted module: ZeroDivisionError" in fast.report().reason


def stepping(x: Tensor, starts: Tensor) -> Tensor:
    """The index is 0 at every step; before the sweeps have come there, it is negative."""
    table, k = torch.linspace(1, 2, T, dtype=x.dtype), torch.ones(B, dtype=torch.int64)
    total = torch.zeros(B, dtype=x.dtype)
    for row, start in zip(x, starts, strict=True):
        total = torch.tanh(total) + table.gather(0, k - start) * row
        k = k + (row > -9).long()
    return total


def test_an_error_on_the_way_of_sweeps_is_told_in_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    fast, x, starts = compiled(stepping, "jacobi"), numbers(T, B), torch.arange(1, T + 1)[:, None].repeat(1, B)
    for _ in range(3):
        torch.testing.assert_close(fast(x, starts), stepping(x, starts))
    assert capfd.readouterr() == ("", "")
    assert fast.report().reason == (
        "steps that run at once read values on the way to their results that the program never has, and these raised "
        'RuntimeError: index -1 is out of bounds for dimension 1 with size 12; schedule="gs" runs the steps in order'
    )


def test_a_later_call_may_show_that_sweeps_raise_on_their_way(capfd: pytest.CaptureFixture[str]) -> None:
    fast, x, starts = compiled(stepping, "jacobi"), numbers(T, B), torch.arange(1, T + 1)[:, None].repeat(1, B)
    fast(x, torch.ones_like(starts))
    for _ in range(3):
        torch.testing.assert_close(fast(x, starts), stepping(x, starts))
    assert capfd.readouterr() == ("", "")
    assert fast.report().reason.startswith("steps that run at once read values on the way to their results")


@pytest.mark.parametrize("verify", ["always", 2])
def test_an_error_of_a_verified_call_is_the_programs_own(verify: Any) -> None:
    model, own = twins(Keeping)
    fast = compiled(model, verify=verify)
    with torch.no_grad():
        for k, good in enumerate([True, True, True, False, True, False, True, True]):
            ids = tokens(good)
            found = []
            for program in (fast, own):
                torch.manual_seed(k)
                found.append(program(ids) if good else error_of(program, ids))
            assert torch.equal(*found) if good else found[0] == found[1]
            assert model.calls == own.calls
            assert torch.equal(model.total, own.total)
    assert fast.report().status == "emitted"


def test_a_verified_call_that_raises_in_the_original_alone_ends_the_version() -> None:
    def program(ids: Tensor, words: Tensor) -> Tensor:
        words[ids]  # what nothing reads is not in what is emitted
        h = torch.zeros(N)
        for _ in range(T):
            h = torch.tanh(h + words[0])
        return h

    fast, words = compiled(program, verify="always"), torch.rand(WORDS, N)
    for _ in range(2):
        assert torch.equal(fast(torch.tensor([3]), words), program(torch.tensor([3]), words))
    assert error_of(fast, torch.tensor([WORDS]), words) == error_of(program, torch.tensor([WORDS]), words)
    assert torch.equal(fast(torch.tensor([3]), words), program(torch.tensor([3]), words))
    assert fast.report().reason == "call 2 raised IndexError in the original alone (verify)"


@pytest.mark.parametrize("first", [True, False], ids=["first call", "later call"])
def test_an_interrupt_passes_and_settles_nothing(first: bool) -> None:
    stop: list[bool] = []

    def program(x: Tensor) -> Tensor:
        if stop:
            stop.clear()
            raise KeyboardInterrupt
        h = torch.zeros_like(x[0])
        for row in x:
            h = torch.tanh(h + row)
        return h

    fast, x = compiled(program), numbers(T, B, N)
    if not first:
        fast(x)
    stop.append(True)
    with pytest.raises(KeyboardInterrupt):
        fast(x)
    for _ in range(2):
        assert torch.equal(fast(x), program(x))
    assert fast.report().status == "emitted"


def test_what_a_bad_input_leaves_behind_in_an_argument_is_what_the_program_leaves() -> None:
    def program(ids: Tensor, seen: Tensor) -> Tensor:
        seen.add_(1.0)
        table, h = torch.linspace(-1, 1, 6, dtype=seen.dtype), torch.zeros(B, dtype=seen.dtype)
        for t in range(T):
            h = torch.tanh(h + table.gather(0, ids[:, t]))
        seen.add_(h)
        return h

    fast = compiled(program)
    ours, theirs = torch.zeros(B), torch.zeros(B)
    for good in (True, True, False, True, False, True):
        ids = tokens(good)
        if good:
            assert torch.equal(fast(ids, ours), program(ids, theirs))
        else:
            assert error_of(fast, ids, ours) == error_of(program, ids, theirs)
        assert torch.equal(ours, theirs)
    assert fast.report().status == "emitted"
