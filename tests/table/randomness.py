"""Rows: random numbers, bit for bit, from the default generator and from one of the model; both go on as they would."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Exponential,
    Gamma,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    StudentT,
    Uniform,
)
from torch.nn import functional as F

from tests.table.row import B, N, Row, T, numbers, row, rows_of, tensors

Step = Callable[[Tensor, Generator | None], Tensor]

D: dict[str, Any] = {"dtype": torch.float64}
CHECKED: dict[str, Any] = {"validate_args": True}  # the arguments of distributions; dynamo turns it off for everyone

# What a draw does not depend on the state for is done for all steps at once.
BEFORE = ("6: stacked", "6: lag 1, slices")
INSIDE = ("6: lag 1, stacked",)


def _mixture(h: Tensor) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(logits=h, **CHECKED), Normal(h + 1, 1.0, **CHECKED), **CHECKED)


PLAIN: dict[str, Step] = {
    "rand": lambda h, g: torch.rand(B, N, generator=g, **D),
    "rand_like": lambda h, g: torch.rand_like(h, generator=g),
    "randn": lambda h, g: torch.randn(B, N, generator=g, **D),
    "randn_like": lambda h, g: torch.randn_like(h, generator=g),
    "normal_of_numbers": lambda h, g: torch.normal(0.5, 2.0, (B, N), generator=g).double(),
    "normal_in_place": lambda h, g: torch.empty_like(h).normal_(0.5, 2.0, generator=g),
    "uniform_in_place": lambda h, g: torch.empty_like(h).uniform_(-1, 1, generator=g),
    "bernoulli_of_a_number": lambda h, g: torch.empty_like(h).bernoulli_(0.3, generator=g),
    "exponential_in_place": lambda h, g: torch.empty_like(h).exponential_(2.0, generator=g),
    "cauchy": lambda h, g: torch.empty_like(h).cauchy_(generator=g),
    "log_normal": lambda h, g: torch.empty_like(h).log_normal_(generator=g),
    "geometric": lambda h, g: torch.empty_like(h).geometric_(0.4, generator=g),
    "randint": lambda h, g: torch.randint(0, 5, (B, N), generator=g).double(),
    "randperm": lambda h, g: torch.randperm(N, generator=g).double() + torch.zeros_like(h),
    "part_of_a_draw": lambda h, g: torch.randn(2 * B, N, generator=g, **D)[::2],
}

OF_THE_STATE: dict[str, Step] = {
    "normal_of_tensors": lambda h, g: torch.normal(h, h.abs() + 0.1, generator=g),
    "normal_of_a_mean": lambda h, g: torch.normal(h, 0.5, generator=g),
    "bernoulli_of_a_tensor": lambda h, g: torch.bernoulli(torch.sigmoid(h), generator=g),
    "multinomial_one": lambda h, g: torch.multinomial(F.softmax(h, -1), 1, generator=g).double(),
    "multinomial_without_replacement": lambda h, g: torch.multinomial(F.softmax(h, -1), N, generator=g).double(),
}

REFUSED: dict[str, tuple[Step, str]] = {
    "multinomial_with_replacement": (
        lambda h, g: torch.multinomial(F.softmax(h, -1), N, True, generator=g).double(),
        "aten.multinomial.default with replacement depends on its probabilities",
    ),
    "poisson": (lambda h, g: torch.poisson(h.abs(), generator=g), "aten.poisson.default"),
}

DEFAULT_ONLY: dict[str, tuple[Step, tuple[str, ...], int, int]] = {
    "dropout": (lambda h, g: F.dropout(h + 1, 0.4), BEFORE, T, 0),
    "alpha_dropout": (lambda h, g: F.alpha_dropout(h + 1, 0.4, training=True), BEFORE, T, 0),
    "gumbel_softmax": (lambda h, g: F.gumbel_softmax(h, 0.7), BEFORE, T, 0),
    "Normal": (lambda h, g: Normal(h, 0.5, **CHECKED).sample(), (*BEFORE, "6: slices"), T, 2 * T),
    "Uniform": (lambda h, g: Uniform(h - 1, h + 1, **CHECKED).sample(), (*INSIDE, "6: slices"), T, 2 * T),
    "Bernoulli": (lambda h, g: Bernoulli(logits=h, **CHECKED).sample(), (*INSIDE, "6: slices"), T, T),
    "Categorical": (lambda h, g: Categorical(logits=h, **CHECKED).sample()[:, None], (*INSIDE, "6: slices"), T, T),
    "Exponential": (lambda h, g: Exponential(h.abs() + 0.1, **CHECKED).sample(), (*INSIDE, "6: slices"), T, T),
    "Laplace": (lambda h, g: Laplace(h, 1.0, **CHECKED).sample(), (*BEFORE, "6: slices"), T, 2 * T),
    "MultivariateNormal": (
        lambda h, g: MultivariateNormal(h, torch.eye(N, **D), **CHECKED).sample(),
        ("6: invariant, stacked", "6: lag 1, slices", "6: slices"),
        T,
        5 * T,
    ),
    "MixtureOfNormals": (
        lambda h, g: _mixture(h).sample()[:, None],
        ("6: stacked", "6: lag 1, slices, stacked", "6: slices"),
        2 * T,
        3 * T,
    ),
}

REFUSED_DEFAULT: dict[str, tuple[Step, str]] = {
    "rrelu": (
        lambda h, g: F.rrelu(h - 1, training=True),
        "no rule to draw the random numbers of aten.rrelu_with_noise",
    ),
    "Gamma": (lambda h, g: Gamma(h.abs() + 0.5, 1.0).sample(), "no rule to draw the random numbers of aten._standard"),
    "Beta": (lambda h, g: Beta(h.abs() + 0.5, 1.0).sample(), "no rule to draw the random numbers of aten._sample_dir"),
    "Dirichlet": (lambda h, g: Dirichlet(h.abs() + 0.5).sample(), "no rule to draw the random numbers of aten._sample"),
    "StudentT": (lambda h, g: StudentT(h.abs() + 2.5).sample(), "no rule to draw the random numbers of aten._standard"),
}


class Chain(nn.Module):
    """h_t = tanh(h_{t-1} / 2 + 0.3 z_t) for random z_t, which may depend on h_{t-1}."""

    def __init__(self, step: Step, generator: Generator | None) -> None:
        super().__init__()
        self.step, self.generator = step, generator

    def forward(self, h: Tensor):
        states = []
        for _ in range(T):
            h = torch.tanh(h * 0.5 + 0.3 * self.step(h, self.generator))
            states.append(h)
        return torch.stack(states)


def _default(name: str, step: Step, loops: tuple[str, ...] = (), draws: int = T, **facts: Any) -> Row:
    return Row(f"{name}_default", lambda: Chain(step, None), tensors((B, N)), loops, draws=draws, **facts)


def _explicit(name: str, step: Step, loops: tuple[str, ...] = (), **facts: Any) -> Row:
    build = lambda: Chain(step, Generator().manual_seed(5))  # noqa: E731
    return Row(f"{name}_explicit", build, tensors((B, N)), loops, draws=T, **facts)


@row(lambda k: (numbers(k, B, N), Generator().manual_seed(k)), *BEFORE, draws=T, recordings=2, ran="recorded")
def another_generator_at_every_call(h: Tensor, generator: Generator):
    for _ in range(T):
        h = torch.tanh(h * 0.5 + 0.3 * torch.randn(B, N, generator=generator, **D))
    return h


ROWS = [
    *(make(name, step, BEFORE) for name, step in PLAIN.items() for make in (_default, _explicit)),
    *(make(name, step, INSIDE) for name, step in OF_THE_STATE.items() for make in (_default, _explicit)),
    *(
        make(name, step, ran="original", reason=reason)
        for name, (step, reason) in REFUSED.items()
        for make in (_default, _explicit)
    ),
    *(_default(name, step, loops, draws, guards=guards) for name, (step, loops, draws, guards) in DEFAULT_ONLY.items()),
    *(_default(name, step, ran="original", reason=reason) for name, (step, reason) in REFUSED_DEFAULT.items()),
    *rows_of(globals()),
]
