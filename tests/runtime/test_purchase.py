"""Rent before you buy: steps are compiled when calls have lost as much as that costs, from what is known already."""

import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.economy.ledger import Ledger
from fxsolve.economy.prices import Prices
from fxsolve.plan import budget
from fxsolve.plan.methods import fused as fused_method
from fxsolve.runtime import calls, purchase
from fxsolve.runtime.account import Account
from tests.pretending import pretend

B, N, T = 2, 3, 61
MOST = 100  # calls, in which everything here is bought


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(N, N) / N)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(B, N)
        for row in x:
            h = torch.tanh(h @ self.weight + row)
        return h


class Counting(Chain):
    """Draws noise, writes into a buffer, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.total: Tensor
        self.register_buffer("total", torch.zeros(B, N))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        result = super().forward(x + 0.1 * torch.randn_like(x))
        self.total += result.detach()
        return result


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The graphs that are compiled."""
    prices = Prices(2e-3, graph_seconds=0.0, start_seconds=0.0, saved_op_seconds=1e-4)
    monkeypatch.setattr(calls, "Account", lambda options: Account(options, Ledger(prices)))
    return pretend(monkeypatch)


def inputs() -> Tensor:
    return torch.randn(T, B, N)


def until_bought(fast: Any, compiled: list[nn.Module], use: Any) -> int:
    """Call it until steps are compiled; returns the number of calls before."""
    for k in range(MOST):
        use()
        if compiled:
            return k
    raise AssertionError("nothing was bought")


def in_compiled_steps(fast: Any) -> bool:
    return "fused(" in str(fast.schedule)


def test_nothing_is_compiled_at_the_first_call(compiled: list[nn.Module]) -> None:
    fast = fxsolve.compile(Chain())
    with torch.no_grad():
        fast(inputs())
    assert not compiled
    (offer,) = (one for loop in fast.report().loops for one in loop.rejected if "compiling takes" in one.reason)
    assert offer.basis == "not tried"


@pytest.mark.parametrize("options", [{"mode": "max-autotune"}, {"mode": "reduce-overhead"}, {"schedule": "fused"}])
def test_what_the_user_asks_for_is_compiled_at_the_first_call(
    compiled: list[nn.Module], options: dict[str, str]
) -> None:
    if options == {"schedule": "fused"}:
        options = {"schedule": "gs(fused(loop0, unroll=4))"}
    fast = fxsolve.compile(Chain(), **options)
    with torch.no_grad():
        fast(inputs())
        fast(inputs())
    assert compiled
    assert in_compiled_steps(fast)


@pytest.mark.parametrize("grad", [False, True])
def test_steps_are_compiled_when_calls_have_lost_what_that_costs(compiled: list[nn.Module], grad: bool) -> None:
    """From the recording of the first call, on other inputs and parameters; nothing is recorded again."""
    model = Chain()
    fast, recordings = fxsolve.compile(model), []

    def use() -> None:
        x = inputs()
        with torch.set_grad_enabled(grad):
            found, wanted = fast(x), model(x)
            torch.testing.assert_close(found, wanted)
            if grad:
                ours, theirs = (torch.autograd.grad(one.sum(), model.weight) for one in (found, wanted))
                torch.testing.assert_close(ours, theirs)
        with torch.no_grad():
            model.weight += 0.01 * torch.randn(N, N)
        recordings.append([stage for stage, _ in fast.report().seconds].count("capture"))

    use()
    prospect = fast._runtime.latest.entry.prospect
    expected = math.ceil(prospect.price / prospect.saving)
    assert until_bought(fast, compiled, use) == expected
    for _ in range(3):
        use()
    assert in_compiled_steps(fast)
    assert set(recordings) == {1}
    assert fast._runtime.latest.entry.prospect is None
    assert any(note.startswith(f"compiled steps were bought after {expected} calls") for note in fast.report().notes)


def test_state_and_random_numbers_go_on_through_a_purchase(compiled: list[nn.Module]) -> None:
    torch.manual_seed(3)
    model, twin = Counting(), Counting()
    twin.load_state_dict(model.state_dict())
    fast, generators = fxsolve.compile(model), [torch.get_rng_state(), torch.get_rng_state()]

    def use() -> None:
        x = torch.ones(T, B, N)
        results = []
        for k, program in enumerate((fast, twin)):
            torch.set_rng_state(generators[k])
            with torch.no_grad():
                results.append(program(x))
            generators[k] = torch.get_rng_state()
        torch.testing.assert_close(*results)
        torch.testing.assert_close(model.total, twin.total)
        assert model.calls == twin.calls
        assert torch.equal(*generators)

    until_bought(fast, compiled, use)
    use()
    assert in_compiled_steps(fast)


def test_a_purchase_that_fails_fails_no_call_and_is_not_tried_again(
    compiled: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fail(*given: Any) -> Any:
        tried.append(given)
        raise RuntimeError("no memory")

    monkeypatch.setattr(purchase, "Compilation", fail)
    model = Chain()
    fast = fxsolve.compile(model)
    with torch.no_grad():
        for _ in range(MOST):
            x = inputs()
            torch.testing.assert_close(fast(x), model(x))
    assert len(tried) == 1
    assert any(note.endswith("they could not be made: RuntimeError: no memory") for note in fast.report().notes)


def test_a_compiler_that_fails_leaves_all_as_it_was(compiled: list[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> float:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(fused_method, "fused_step_seconds", fail)
    model = Chain()
    fast = fxsolve.compile(model)
    with torch.no_grad():
        for _ in range(MOST):
            x = inputs()
            torch.testing.assert_close(fast(x), model(x))
    assert not in_compiled_steps(fast)
    assert any(note.endswith("not taken: inductor failed: no compiler") for note in fast.report().notes)


def test_of_several_threads_one_buys(compiled: list[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    bought, real = [], purchase.buy
    monkeypatch.setattr(calls, "buy", lambda *given: bought.append(given) or real(*given))
    model = Chain()
    fast, wrong = fxsolve.compile(model), []

    def work() -> None:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for _ in range(MOST // 2):
                x = torch.randn(T, B, N, generator=generator)
                if not torch.allclose(fast(x), model(x), atol=1e-5):
                    wrong.append(x)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(bought) == 1
    assert any(note.startswith("compiled steps were bought") for note in fast.report().notes)


def test_a_value_that_another_recording_expects_puts_a_purchase_off(compiled: list[nn.Module]) -> None:
    """The steps that are compiled are those of the recording that answers the call."""
    model = Chain()

    def program(x: Tensor, flag: Tensor) -> Tensor:
        return model(x) if bool(flag) else model(-x)

    fast = fxsolve.compile(program)
    with torch.no_grad():
        for k in range(MOST):
            x, flag = inputs(), torch.tensor(k % 3 > 0)
            torch.testing.assert_close(fast(x, flag), program(x, flag))
    assert compiled


def test_another_length_of_what_was_bought_is_compiled_already(
    compiled: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "BUDGET_SECONDS", 0.0)
    model = Chain()
    fast = fxsolve.compile(model)
    with torch.no_grad():
        until_bought(fast, compiled, lambda: fast(inputs()))
        count = len(compiled)
        x = torch.randn(T + 12, B, N)
        fast(x)
        torch.testing.assert_close(fast(x), model(x))
    assert in_compiled_steps(fast)
    assert len(compiled) == count
