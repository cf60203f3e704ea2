"""What grows on buffers is masked only where its other entries may do harm: what is not finite does."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import fxsolve
from fxsolve.ir.spec import Lag, Prefix
from fxsolve.stages import capture, partition

B, T, V, E = 2, 8, 5, 4
aten = torch.ops.aten

generator = torch.Generator().manual_seed(0)
TABLE, PLACES, HEAD = (torch.randn(*shape, generator=generator) for shape in ((V, E), (T + 1, E), (E, V)))
HIDDEN = torch.tensor([0.0, 0.0, 0.0, 0.0, float("-inf")])

Net = Callable[[Tensor], Tensor]


def causal(x: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True)[:, 0]


def layered(idx: Tensor) -> Tensor:
    """Token and position, two layers of attention, as in a GPT."""
    x = F.embedding(idx, TABLE) + F.embedding(torch.arange(idx.shape[1]), PLACES)
    for _ in range(2):
        x = x + F.gelu(causal(F.layer_norm(x, (E,)))) * 0.5
    return x @ HEAD


def divided(idx: Tensor) -> Tensor:
    """What is divided may be infinite where no token is."""
    x = F.embedding(idx, TABLE)
    return causal(x / x.sum(-1, keepdim=True)) @ HEAD


def logarithms(idx: Tensor) -> Tensor:
    return causal(torch.log(F.embedding(idx, TABLE).abs())) @ HEAD


def shifted(idx: Tensor) -> Tensor:
    """Token 0 less one is no token."""
    return causal(F.embedding((idx - 1).clamp(min=0), TABLE) + F.embedding(idx - idx.amin(), TABLE)) @ HEAD


def chosen(idx: Tensor) -> Tensor:
    x = F.embedding(idx, TABLE)
    return causal(torch.where(x > 3, torch.tensor(float("inf")), x)) @ HEAD


def squares(x: Tensor) -> Tensor:
    return (x * x).sum(-1, keepdim=True)


def divided_by(divisor: Callable[[Tensor], Tensor]) -> Net:
    """A quotient that is finite for some tables, and 0 / 0 for others, behind a norm that has nothing in its way."""

    def net(idx: Tensor) -> Tensor:
        x = F.embedding(idx, TABLE)
        return causal((x / divisor(x)).float()) @ HEAD

    return net


def normed_by_nothing(idx: Tensor) -> Tensor:
    return causal(F.layer_norm(F.embedding(idx, TABLE), (E,), eps=0.0)) @ HEAD


NETS: dict[str, tuple[Net, bool]] = {
    "layered": (layered, False),
    "divided": (divided, True),
    "logarithms": (logarithms, True),
    "shifted": (shifted, True),
    "chosen": (chosen, True),
    "divided by an integer": (divided_by(lambda x: (squares(x) + 0.5).long()), True),
    "divided by a half": (divided_by(lambda x: (squares(x) + 1e-9).half()), True),
    "divided by a double": (divided_by(lambda x: (squares(x) + 1e-9).double()), False),
    "normed by nothing": (normed_by_nothing, True),
}


def sampler(net: Net) -> Callable[[Tensor], Tensor]:
    def sample(idx: Tensor) -> Tensor:
        for _ in range(T):
            idx = torch.cat((idx, torch.multinomial(F.softmax(net(idx)[:, -1] + HIDDEN, -1), 1)), 1)
        return idx

    return sample


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_only_what_may_do_harm_is_masked(name: str) -> None:
    net, is_masked = NETS[name]
    system = partition(capture(sampler(net), torch.zeros(B, 1, dtype=torch.long))).system
    targets = {node.target for repeat in system.repeats for node in repeat.body.graph.nodes}
    assert (aten.masked_fill.Scalar in targets) == is_masked


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_the_tokens_are_those_of_the_program(name: str) -> None:
    sample = sampler(NETS[name][0])
    fast = fxsolve.compile(sample, backend="eager", schedule="jacobi")
    for seed in range(3):
        idx = torch.randint(V, (B, 1))
        torch.manual_seed(seed)
        expected = sample(idx)
        torch.manual_seed(seed)
        assert torch.equal(fast(idx), expected)


@torch.no_grad()
def test_a_text_that_grows_is_read_as_a_canvas_is() -> None:
    sample = sampler(layered)
    (loop,) = [
        repeat
        for repeat in partition(capture(sample, torch.zeros(B, 1, dtype=torch.long))).system.repeats
        if any(isinstance(read, Prefix) for read in repeat.reads)
    ]
    assert loop.length == T
    assert not any(isinstance(read, Lag) for read in loop.reads)
    fast = fxsolve.compile(sample, backend="eager", schedule="jacobi")
    fast(torch.zeros(B, 1, dtype=torch.long))
    assert {found.causal for found in fast.report().loops if found.causal} == {"proved"}
    assert f"jacobi(loop0[0:{T}]" in str(fast.schedule)


def forecasts(x: Tensor, lost: Tensor) -> Tensor:
    """Numbers that grow by what a network makes of them, until all is lost."""
    for t in range(T):
        y = causal(x[..., None] * HEAD[0]).mean(-1)[:, -1:]
        x = torch.cat((x, torch.sqrt(1 + y - lost[:, t : t + 1])), 1)
    return x


@torch.no_grad()
def test_numbers_that_grow_are_not_masked_either() -> None:
    system = partition(capture(forecasts, torch.zeros(B, 1), torch.zeros(B, T))).system
    targets = {node.target for repeat in system.repeats for node in repeat.body.graph.nodes}
    assert aten.masked_fill.Scalar not in targets


@pytest.mark.parametrize("text", ["gs", "jacobi", "incremental"])
@torch.no_grad()
def test_what_becomes_no_number_reaches_no_earlier_step(text: str) -> None:
    fast = fxsolve.compile(forecasts, (torch.zeros(B, 1), torch.zeros(B, T)), backend="eager", schedule=text)
    x, lost = torch.ones(B, 1), torch.zeros(B, T)
    lost[1, 5] = 9.0
    expected = forecasts(x, lost)
    assert expected[:, :6].isfinite().all()
    assert expected[1, 6:].isnan().all()
    torch.testing.assert_close(fast(x, lost), expected, rtol=1e-6, atol=1e-6, equal_nan=True)
    assert text in str(fast.schedule)
    statuses = {run.status for run in fast.report().runs}
    assert statuses == {"sequential"} if text == "gs" else "finished sequentially" in statuses


@pytest.mark.parametrize("schedule", ["gs", "jacobi"])
@torch.no_grad()
def test_a_norm_of_equal_numbers_that_are_not_read_does_no_harm(schedule: str) -> None:
    table, idx = TABLE.clone(), torch.ones(B, 1, dtype=torch.long)

    def sample(idx: Tensor) -> Tensor:
        for _ in range(T):
            logits = causal(F.layer_norm(F.embedding(idx, table), (E,), eps=0.0)) @ HEAD
            idx = torch.cat((idx, logits[:, -1:, 1:].argmax(-1) + 1), 1)
        return idx

    fast = fxsolve.compile(sample, (idx,), backend="eager", schedule=schedule)
    table[0] = 0.0  # 0 / 0 where no token is
    expected = sample(idx)
    assert torch.equal(fast(idx), expected)
    assert schedule == "gs" or "jacobi(" in str(fast.schedule)
