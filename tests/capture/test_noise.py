"""Random calls become draws and a remainder: same bits, same generator state."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._ops import OpOverload

from fxsolve.capture.bits import same_bits
from fxsolve.capture.capture import capture
from fxsolve.capture.record import dispatch, kinds, noise
from fxsolve.capture.verify import verify_program
from fxsolve.errors import CaptureError

P = torch.tensor([[0.1, 0.5, 0.4], [0.3, 0.3, 0.4]])

RANDOM = {
    "rand": lambda: torch.rand(3, 4),
    "randn": lambda: torch.randn(17, dtype=torch.float64),
    "randint": lambda: torch.randint(2, 9, (5,)),
    "randperm": lambda: torch.randperm(6),
    "rand_like": lambda: torch.rand_like(P.t()),
    "randn_like": lambda: torch.randn_like(P, dtype=torch.float64),
    "randint_like": lambda: torch.randint_like(P, 7),
    "normal": lambda: torch.normal(0.0, 2.0, (4,)),
    "normal_mean": lambda: torch.normal(P, 2.0),
    "normal_std": lambda: torch.normal(1.0, P),
    "normal_both": lambda: torch.normal(P, P + 1),
    "bernoulli": lambda: torch.bernoulli(P),
    "bernoulli_transposed": lambda: torch.bernoulli(P.t()),
    "bernoulli_column": lambda: torch.bernoulli(P[:, 1]),
    "bernoulli_double": lambda: torch.bernoulli(P.double()),
    "bernoulli_p": lambda: torch.bernoulli(P, 0.3),
    "bernoulli_fill": lambda: torch.empty(2, 3).bernoulli_(P),
    "bernoulli_fill_bool": lambda: torch.empty(2, 3, dtype=torch.bool).bernoulli_(P),
    "multinomial": lambda: torch.multinomial(P, 1),
    "multinomial_several": lambda: torch.multinomial(P, 2),
    "dropout": lambda: torch.nn.functional.dropout(P, 0.4),
    "native_dropout": lambda: torch.native_dropout(P, 0.4, True),
    "uniform": lambda: torch.empty(3).uniform_(-1, 1),
    "exponential": lambda: torch.empty(3).exponential_(2.0),
    "random": lambda: torch.empty(5).random_(0, 9),
    "geometric": lambda: torch.empty(5).geometric_(0.4),
    "cauchy": lambda: torch.empty(5).cauchy_(),
    "log_normal": lambda: torch.empty(5).log_normal_(),
    "column": lambda: torch.zeros(20, 3)[:, 1].normal_(),
    "transposed": lambda: torch.zeros(20, 3).t().normal_(),
    "native_dropout_off": lambda: torch.native_dropout(P, 0.4, False),
}


@pytest.mark.parametrize("name", RANDOM)
def test_draws_and_remainder_equal_the_call_for_every_seed(name: str) -> None:
    program = RANDOM[name]
    captured = capture(program, (), {})
    verify_program(captured)
    calls = {n.target for n in captured.module.graph.nodes if isinstance(n.target, OpOverload)}
    assert not any(map(noise.is_random, calls)) or name == "native_dropout_off"
    for seed in range(5):
        torch.manual_seed(seed)
        expected = program()
        state = torch.get_rng_state()
        torch.manual_seed(seed)
        outputs = captured.module(*(draw.sample() for draw in captured.draws))
        expected = expected if isinstance(expected, tuple) else (expected,)
        assert all(map(same_bits, outputs, expected))
        assert torch.equal(torch.get_rng_state(), state)


def test_draws_come_in_program_order_and_do_not_depend_on_values() -> None:
    def program(p: Tensor) -> Tensor:
        for _ in range(4):
            p = torch.bernoulli(p) * torch.rand(3) + torch.zeros(3).uniform_() * 0
        return p

    captured = capture(program, (P[0],), {})
    assert len(captured.draws) == 12
    torch.manual_seed(7)
    expected = program(P[1])
    torch.manual_seed(7)
    assert same_bits(captured.module(P[1], *(draw.sample() for draw in captured.draws))[0], expected)


def test_an_explicit_generator_is_drawn_from_by_reference() -> None:
    generator = torch.Generator().manual_seed(3)
    captured = capture(lambda: torch.bernoulli(P, generator=generator) + torch.rand(3, generator=generator), (), {})
    state = torch.get_rng_state()
    generator.manual_seed(3)
    assert all(map(same_bits, [draw.sample() for draw in captured.draws], captured.example.noise))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_rule_that_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(recorder, function, args, kwargs) -> Tensor:
        return recorder.draw(torch.ops.aten.rand_like.default, args[0])

    monkeypatch.setattr(noise, "_RULES", {torch.ops.aten.bernoulli.default: wrong})
    with pytest.raises(CaptureError, match=r"on cpu, aten.bernoulli.default does not draw as fxsolve's rule says"):
        capture(lambda: torch.bernoulli(P), (), {})


def test_random_numbers_that_were_not_seen_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "is_random", lambda function: False)
    monkeypatch.setattr(dispatch, "kind_of", kinds.kind_of.__wrapped__)  # which remembers no other answer, nor this one
    with pytest.raises(CaptureError, match="random numbers that fxsolve did not see"):
        capture(lambda: P + torch.empty(3).random_(), (), {})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.sampled_from([torch.float32, torch.float64]))
def test_bernoulli_equals_its_uniform_draw_for_any_seed_and_size(seed: int, size: int, dtype: torch.dtype) -> None:
    p = torch.rand(3, size, dtype=dtype)
    captured = capture(torch.bernoulli, (p,), {})
    torch.manual_seed(seed)
    expected = torch.bernoulli(p)
    torch.manual_seed(seed)
    assert same_bits(captured.module(p, *(draw.sample() for draw in captured.draws))[0], expected)
