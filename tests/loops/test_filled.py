"""A sequence to which all steps append one number is the same at every step; any other is not taken for one."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import Lag, Prefix, Read, System
from fxsolve.loops.growing.sizes import find_growing, rank_and_dtype
from fxsolve.loops.padding.filled import find_filled
from fxsolve.loops.padding.known import Attributes, KnownValues
from fxsolve.loops.padding.settled import find_settled
from fxsolve.loops.rolling.signature import read_calls
from fxsolve.stages import capture, partition
from tests.loops.programs import given_values

B, N, T, V = 2, 3, 6, 5
TABLE = torch.randn(V, 4, generator=torch.Generator().manual_seed(0))
PLACES = torch.randn(
    N + T - 1,
    4,  # as many as are looked up
    generator=torch.Generator().manual_seed(1),
)
TEXT, MASK = torch.tensor([[1, 2, 3], [0, 4, 1]]), torch.tensor([[1, 1, 1], [0, 1, 1]])
Grow = Callable[[Tensor, Tensor, int], Tensor]
Look = Callable[[Tensor, int], Tensor]


def as_it_is(mask: Tensor, _: int) -> Tensor:
    return mask


def counted(mask: Tensor, _: int) -> Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)


def wrapped(mask: Tensor, _: int) -> Tensor:
    return mask.cumsum(1) % len(PLACES)


def sampler(grow: Grow, read: Look = as_it_is) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    def sample(text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        for t in range(T):
            x = TABLE[text] + F.embedding(read(mask, t), PLACES)
            scores = (x @ x.transpose(1, 2)).masked_fill(mask[:, None] == 0, -torch.inf)
            word = (scores.softmax(-1) @ x)[:, -1, :].argmax(-1, keepdim=True) % V
            text, mask = torch.cat([text, word], 1), grow(mask, word, t)
        return text, mask

    return sample


APPENDED: dict[str, Grow] = {
    "new_ones": lambda mask, word, t: torch.cat([mask, mask.new_ones(B, 1)], 1),
    "ones_like": lambda mask, word, t: torch.cat([mask, torch.ones_like(word)], -1),
    "like the mask": lambda mask, word, t: torch.cat([mask, torch.ones_like(mask[:, :1])], 1),
    "full": lambda mask, word, t: torch.cat((mask, torch.full((B, 1), 1)), dim=-1),
    "two tensors": lambda mask, word, t: torch.cat([mask, torch.tensor([[1], [1]])], 1),
    "of another type": lambda mask, word, t: torch.cat([mask, torch.ones(B).long()[:, None]], 1),
    "pad": lambda mask, word, t: F.pad(mask, (0, 1), value=1),
    "zeros": lambda mask, word, t: F.pad(mask, (0, 1)),
}
OTHERS: dict[str, Grow] = {
    "the step": lambda mask, word, t: torch.cat([mask, torch.full((B, 1), t)], 1),
    "by turns": lambda mask, word, t: torch.cat([mask, torch.full((B, 1), t % 2)], 1),
    "at the end": lambda mask, word, t: torch.cat([mask, torch.full((B, 1), int(t > 3))], 1),
    "of the word": lambda mask, word, t: torch.cat([mask, (word > 1).long()], 1),
    "of two samples": lambda mask, word, t: torch.cat([mask, torch.tensor([[0], [1]])], 1),
    "in front": lambda mask, word, t: F.pad(mask, (1, 0), value=1),
    "changed": lambda mask, word, t: torch.cat([1 - mask, torch.ones_like(word)], 1),
}


def found(program: Callable[..., object]) -> System:
    """The system of a program, which computes the same."""
    captured = capture(program, TEXT, MASK)
    system = partition(captured).system
    results = evaluate(system, given_values(captured))
    for ours, theirs in zip(results, captured.example.outputs, strict=True):
        assert torch.equal(ours, theirs)
    return system


def carried(system: System) -> list[Read]:
    """What steps read of those before them."""
    return [read for one in system.repeats for read in one.reads if isinstance(read, Lag | Prefix)]


def of_places(system: System) -> int:
    """How many loops there are in whose steps a row of `PLACES` is looked up."""
    bodies = [one.body.graph for one in system.repeats]
    tables = [
        node.args[0].meta["spec"].shape
        for graph in bodies
        for node in graph.find_nodes(op="call_function", target=torch.ops.aten.embedding.default)
    ]
    return tables.count(tuple(PLACES.shape))


@pytest.mark.parametrize("name", APPENDED)
def test_what_is_filled_up_with_a_number_is_no_state_of_a_loop(name: str) -> None:
    system = found(sampler(APPENDED[name], counted))
    assert len(carried(system)) == 1  # the text
    assert of_places(system) == 0


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_filled_up_otherwise_is_computed_by_steps(name: str) -> None:
    found(sampler(OTHERS[name], wrapped))


SETTLED: dict[str, Look] = {
    "counted": counted,
    "from a number on": lambda mask, t: (torch.arange(mask.shape[1]) + 0)[None],
    "of every sample": lambda mask, t: torch.arange(1, mask.shape[1] + 1).sub(1).unsqueeze(0).expand(B, -1),
    "of a longer one": lambda mask, t: (torch.arange(N + T - 1) * 1)[: mask.shape[1]].view(1, -1),
    "of ones": lambda mask, t: torch.ones_like(mask).cumsum(-1) - 1,
    "behind padding": lambda mask, t: (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1),
}


@pytest.mark.parametrize("name", SETTLED)
def test_places_that_are_made_of_nothing_that_steps_make_are_looked_up_once(name: str) -> None:
    system = found(sampler(APPENDED["new_ones"], SETTLED[name]))
    assert len(carried(system)) == 1
    assert of_places(system) == 0


READS: dict[str, Look] = {
    "the step": lambda mask, t: (mask.cumsum(1) - 1).clamp(min=t % 2),
    "by turns": lambda mask, t: wrapped(mask if t % 2 else 1 - mask, t),
    "reversed": lambda mask, t: wrapped(mask.flip(1), t).flip(1),
    "from the end": lambda mask, t: mask.shape[1] - 1 - torch.arange(mask.shape[1])[None],
    "the last ones": lambda mask, t: torch.arange(N + T - 1)[None, -mask.shape[1] :],
    "moved": lambda mask, t: (torch.arange(mask.shape[1]) + t)[None] % len(PLACES),
    "sums": lambda mask, t: mask.cumsum(1) * 0 + mask.sum(1, keepdim=True) - 1,
}


@pytest.mark.parametrize("name", READS)
def test_what_changes_with_the_step_is_looked_up_by_steps(name: str) -> None:
    found(sampler(APPENDED["pad"], READS[name]))


def test_texts_that_become_shorter_look_up_all_that_they_have() -> None:
    def sample(text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = PLACES[: N + T - 1].sum(1)
        for _ in range(T):
            x = torch.tanh(x[:-1] + F.embedding(torch.arange(len(x) - 1) + 0, PLACES).sum(1))
        return x, mask

    found(sample)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32, torch.complex64, torch.uint8])
def test_numbers_of_any_type_are_appended(dtype: torch.dtype) -> None:
    def sample(text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        kept = mask.to(dtype)
        for _ in range(T):
            seen = (kept == 1)[:, None]
            word = (TABLE[text].sum(2, keepdim=True) * seen.transpose(1, 2)).cumsum(1)[:, -1].argmax(-1, keepdim=True)
            text, kept = torch.cat([text, word], 1), torch.cat([kept, torch.ones(B, 1).to(dtype)], 1)
        return text, kept

    found(sample)


@pytest.mark.parametrize(("grow", "count"), [("pad", 1), ("new_ones", 1), ("by turns", 0), ("changed", 0)])
def test_sequences_are_told_apart(grow: str, count: int) -> None:
    program = capture(sampler({**APPENDED, **OTHERS}[grow], wrapped), TEXT, MASK)
    calls = read_calls(program.module.graph, describe=rank_and_dtype)
    loops, _ = find_growing(calls)
    (loop,) = loops
    filled = find_filled(calls, loop, KnownValues(program.module.graph, Attributes()))
    assert len(filled.numbers) == count
    names = {str(node.target) for node in find_settled(calls, loop, filled)}
    assert ("aten.cumsum.default" in names) == bool(count)
