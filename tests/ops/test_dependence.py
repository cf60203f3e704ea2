"""Labels of dependence are never too small: no perturbation of a step changes an entry whose label denies it."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from fxsolve.ops.domains.dependence import Dependence
from fxsolve.ops.domains.entries import NEVER, Entries, entries
from fxsolve.ops.interpret import Interpreter
from tests.ops.matrices import OPS, T, build, names


def label(graph: fx.GraphModule, labels: Tensor) -> Tensor:
    with torch.no_grad():
        result = Interpreter(graph, Dependence()).run(entries(labels))
    return result.latest if isinstance(result, Entries) else torch.full((T, T), NEVER)


def reached(program: Callable[[Tensor], Tensor], labels: Tensor, seed: int, trials: int = 4) -> Tensor:
    """The latest step whose perturbation, large or small, changed an entry: a lower bound of the true label."""
    generator = torch.Generator().manual_seed(seed)
    latest = torch.full((T, T), NEVER)
    for trial in range(trials):
        x = torch.randn(T, T, generator=generator, dtype=torch.float64)
        before = program(x)
        for step in range(T):
            noise = torch.randn(T, T, generator=generator, dtype=torch.float64) * 10.0 ** (trial % 4 - 1)
            after = program(torch.where(labels == step, x + noise, x))
            same = (after == before) | (after.isnan() & before.isnan())
            latest = torch.where(~same, torch.maximum(latest, torch.tensor(step)), latest)
    return latest


def assert_never_denied(chosen: list[str], labels: Tensor, seed: int) -> None:
    program = build(chosen, seed)
    graph = make_fx(program)(torch.randn(T, T, dtype=torch.float64))
    claimed = label(graph, labels)
    assert claimed.shape == (T, T)
    assert bool((reached(program, labels, seed) <= claimed).all())


columns = torch.arange(T).expand(T, T)


@pytest.mark.parametrize("name", sorted(OPS))
def test_no_op_denies_a_dependence(name: str) -> None:
    assert_never_denied([name], columns, 0)
    assert_never_denied(["tanh", name], columns.t() - 1, 1)
    assert_never_denied([name, name], torch.randint(NEVER, T, (T, T)), 2)


@settings(max_examples=50, deadline=None)
@given(names, st.integers(0, 10**6))
def test_no_chain_of_ops_denies_a_dependence(chosen: list[str], seed: int) -> None:
    labels = torch.randint(NEVER, T, (T, T), generator=torch.Generator().manual_seed(seed))
    assert_never_denied(chosen, labels, seed)


# The labels say something: ops whose labels are known exactly.


def labels_after(program: Callable[[Tensor], Tensor], labels: Tensor = columns) -> list[list[int]]:
    return label(make_fx(program)(torch.randn(T, T, dtype=torch.float64)), labels).tolist()


def test_a_strictly_triangular_weight_lets_only_earlier_steps_through() -> None:
    weight = torch.triu(torch.rand(T, T, dtype=torch.float64) + 1, 1)  # weight[k, j] for k < j
    assert labels_after(lambda x: x @ weight) == (columns - 1).tolist()
    assert labels_after(lambda x: F.linear(x, weight.t())) == (columns - 1).tolist()


def test_a_mask_hides_what_it_multiplies_by_zero() -> None:
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    assert labels_after(lambda x: torch.tanh(x * mask))[0] == [0, NEVER, 2, NEVER, 4]
    assert labels_after(lambda x: torch.where(mask > 0, x, 3.0))[0] == [0, NEVER, 2, NEVER, 4]


def test_sums_and_softmaxes_reach_the_latest_entry() -> None:
    assert labels_after(lambda x: x.sum(1, keepdim=True).expand(T, T))[0] == [T - 1] * T
    assert labels_after(lambda x: torch.softmax(x, 1))[0] == [T - 1] * T
    assert labels_after(lambda x: torch.softmax(x, 0)) == columns.tolist()


@pytest.mark.parametrize("limit", [-100.0, 0.0], ids=["all", "some"])
def test_what_a_mask_of_values_picks_depends_on_the_whole_mask(limit: float) -> None:
    table = torch.rand(T, T, dtype=torch.float64)
    steps = torch.linspace(-1, 1, T, dtype=torch.float64)[:, None].expand(T, T)
    graph = make_fx(lambda x: table[x[:, 0] > limit].sum(0).expand(T, T) + table[x[:, 0] > limit][:1])(steps)
    assert label(graph, columns.t()).tolist() == [[T - 1] * T] * T
    graph = make_fx(lambda x: table[x[:, 0] > limit][:1].expand(T, T))(steps)
    assert label(graph, columns.t()).tolist() == [[T - 1] * T] * T


def test_an_op_without_a_rule_mixes_everything() -> None:
    assert labels_after(lambda x: torch.linalg.inv(x)) == [[T - 1] * T] * T


def test_a_constant_result_has_no_label() -> None:
    assert labels_after(lambda x: torch.ones(T, T)) == [[NEVER] * T] * T
