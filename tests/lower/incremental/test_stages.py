"""What the first step computes, and which keys the query of each later step looks at."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

import fxsolve
from fxsolve.lower.incremental.build import incremental_program
from fxsolve.lower.incremental.shorten import shortened
from fxsolve.solvers.incremental import Stage, StepProgram
from tests.lower.incremental.steps import sampler
from tests.samplers import B, Fused, Transformer

LENGTH = 24
aten = torch.ops.aten


class Masked(Fused):
    """Attention with a mask that is the model's own."""

    def __init__(self, width: int, heads: int, length: int) -> None:
        super().__init__(width, heads, length)
        self.mask: Tensor
        self.register_buffer("mask", self.mask_of(length))

    def mask_of(self, length: int) -> Tensor:
        return torch.ones(length, length, dtype=torch.bool).tril()

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        q, k, v = (y.view(b, n, self.heads, -1).transpose(1, 2) for y in self.qkv(x).split(c, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:n, :n])
        return self.out(y.transpose(1, 2).reshape(b, n, c))


class Window(Masked):
    """Each query sees the last four keys."""

    def mask_of(self, length: int) -> Tensor:
        return super().mask_of(length).triu(-3)


class WindowOfNumbers(Window):
    def mask_of(self, length: int) -> Tensor:
        return torch.zeros(length, length).masked_fill(~super().mask_of(length), float("-inf"))


class EverySecond(Masked):
    def mask_of(self, length: int) -> Tensor:
        places = torch.arange(length)
        return super().mask_of(length) & ((places[:, None] - places) % 2 == 0)


def text(attention: type[Fused], prompt: int) -> tuple[Callable[..., Tensor], tuple[Tensor, ...]]:
    """A canvas whose first entries are given."""
    torch.manual_seed(0)
    net = Transformer(attention, length=LENGTH).eval()

    def sample(first: Tensor) -> Tensor:
        words = torch.zeros(B, LENGTH, dtype=torch.long)
        words[:, :prompt] = first
        for t in range(prompt, LENGTH):
            words[:, t] = torch.multinomial(net(words)[:, t - 1].softmax(-1), 1)[:, 0]
        return words

    return sample, (torch.randint(0, 7, (B, prompt)),)


def the_stage(program: StepProgram) -> Stage:
    """The one that all steps but the first run."""
    (stage,) = program.stages
    assert isinstance(stage, Stage)
    return stage


def calls(module: nn.Module, *targets: object) -> list[fx.Node]:
    assert isinstance(module, fx.GraphModule)
    return [node for node in module.graph.nodes if node.target in targets]


@pytest.mark.parametrize(("prompt", "rows"), [(1, 1), (5, 5), (20, LENGTH)])
@torch.no_grad()
def test_the_first_step_computes_what_is_final_before_it_and_no_more(prompt: int, rows: int) -> None:
    program = incremental_program(*sampler(*text(Fused, prompt)))
    products = calls(program.start.body, torch.addmm)
    assert len(products) == 8
    assert {node.meta["val"].shape[0] for node in products[:-4]} == {rows * B}


FIRST_OF_WINDOW = [max(0, t - 3) for t in range(1, LENGTH - 1)]
SIZE_OF_WINDOW = [min(t + 1, 4) for t in range(1, LENGTH - 1)]


@pytest.mark.parametrize(
    ("attention", "expected"),
    [
        (Fused, [[*range(2, LENGTH)]]),
        (Masked, [[*range(2, LENGTH)]]),
        (Window, [FIRST_OF_WINDOW, SIZE_OF_WINDOW]),
        (WindowOfNumbers, [FIRST_OF_WINDOW, SIZE_OF_WINDOW]),
    ],
)
@torch.no_grad()
def test_each_query_looks_at_the_keys_that_it_sees(attention: type[Fused], expected: list[list[int]]) -> None:
    program = incremental_program(*sampler(*text(attention, 1)))
    stage = the_stage(program.with_stages(shortened))
    assert [list(one) for one in stage.numbers] == expected
    assert not any(slot.kind == "seen" for slot in stage.slots)
    assert not calls(stage.body, torch.masked_fill)
    cut = [one for call in calls(stage.body, torch.narrow) for one in call.all_input_nodes if one.op == "placeholder"]
    assert len({*cut}) == len(expected)


@torch.no_grad()
def test_keys_that_do_not_lie_side_by_side_keep_their_mask() -> None:
    program = incremental_program(*sampler(*text(EverySecond, 1)))
    stage = the_stage(program.with_stages(shortened))
    assert any(slot.kind == "seen" for slot in stage.slots)
    assert not stage.numbers


@pytest.mark.parametrize("prompt", [1, 5, 20])
@pytest.mark.parametrize("attention", [Fused, Masked, Window, WindowOfNumbers, EverySecond])
@torch.no_grad()
def test_the_same_words_are_drawn(attention: type[Fused], prompt: int, doubles: None) -> None:
    program, inputs = text(attention, prompt)
    fast = fxsolve.compile(program, inputs, schedule="incremental", backend="eager", tolerance=1e-9)
    for seed in range(3):
        torch.manual_seed(seed)
        expected, state = program(*inputs), torch.get_rng_state()
        torch.manual_seed(seed)
        assert torch.equal(fast(*inputs), expected)
        assert torch.equal(torch.get_rng_state(), state)
    (run,) = (run for run in fast.report().runs if run.method == "incremental")
    assert run.sweeps == 1
