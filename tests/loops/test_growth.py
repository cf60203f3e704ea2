"""Loops whose tensors grow by `cat`: read through their pieces, or rewritten for buffers of the final size.

The law of a buffer: what its entries that are not valid yet hold changes nothing. It is tried by filling them with NaN.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx

from fxsolve.capture.bits import same_bits
from fxsolve.capture.program import Program
from fxsolve.ir.evaluate import evaluate
from fxsolve.ir.spec import AllSteps, FinalBuffer, Lag, Prefix, Slices, Table
from fxsolve.loops import find
from fxsolve.loops.find import find_loops
from fxsolve.loops.growing.ends import join_growth
from fxsolve.loops.partition import Partition
from fxsolve.loops.rolling.signature import Calls, read_calls
from fxsolve.stages import capture, partition
from tests.loops.programs import given_values, numbers

aten = torch.ops.aten

B, T, D = 2, 6, 4
W, V = numbers(D, D).double() / 2, numbers(D, D + 1)[:, :D].double() / 2
TABLE = numbers(16, D).double()
START = numbers(B, 3, D).double()


def captured(program: Callable[..., object], *inputs: object) -> Program:
    with torch.no_grad():
        return capture(program, *inputs)


def checked(program: Callable[..., object], *inputs: object) -> Partition:
    """The partition of a program, whose values are the program's own, bit for bit."""
    recorded = captured(program, *inputs)
    parts = partition(recorded)
    for one, other in zip(evaluate(parts.system, given_values(recorded)), recorded.example.outputs, strict=False):
        assert same_bits(one, other)
    return parts


def count(graph: fx.Graph, target: object) -> int:
    return len(graph.find_nodes(op="call_function", target=target))  # pyright: ignore[reportArgumentType]


# Chains that are read at their ends only


def appended(x: Tensor) -> Tensor:
    outputs = x.new_zeros(B, 1, D)
    for _ in range(T):
        x = torch.tanh(x @ W)
        outputs = torch.cat([outputs, x.unsqueeze(1)], 1)
    return outputs


def prepended(x: Tensor) -> Tensor:
    outputs = x[None]
    for _ in range(T):
        x = torch.tanh(x @ W)
        outputs = torch.cat([x[None], outputs])
    return outputs


def from_nothing(x: Tensor) -> Tensor:
    outputs = torch.empty(0, dtype=x.dtype)
    for _ in range(T):
        x = torch.tanh(x @ W)
        outputs = torch.cat([outputs, x], 1)
    return outputs


def fed_back(x: Tensor) -> Tensor:
    sequence = x.unsqueeze(1)
    for _ in range(T):
        x = torch.tanh(sequence[:, -1] @ W)
        sequence = torch.cat([sequence, x.unsqueeze(1)], dim=1)
    return sequence


def kept_as_a_slice(x: Tensor) -> Tensor:
    sequence = x.unsqueeze(1)
    for _ in range(T):
        last = torch.tanh(sequence[:, -1:] @ W) + sequence[:, 0:1]
        sequence = torch.cat((sequence, last), dim=1)
    return sequence


@pytest.mark.parametrize("program", [appended, prepended, from_nothing, fed_back, kept_as_a_slice])
def test_a_chain_that_is_read_at_its_ends_leaves_equal_steps_and_one_cat(program) -> None:
    x = numbers(B, D).double()
    parts = checked(program, x)
    (loop,) = parts.system.repeats
    assert loop.length >= T - 1
    assert any(isinstance(write, AllSteps) for write in loop.writes)
    assert not parts.notes
    assert count(join_growth(captured(program, x).module.graph), aten.cat.default) == 1


def test_a_window_that_moves_along_a_chain_reads_its_pieces() -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(2 * T):
            x = torch.cat([x, torch.tanh(x[:, -3:] @ W).sum(1, keepdim=True)], 1)
        return x

    parts = checked(program, START)
    loop = max(parts.system.repeats, key=lambda repeat: repeat.length)
    assert loop.length >= 2 * T - 3
    assert sum(isinstance(read, Lag) for read in loop.reads) >= 2


def test_a_graph_without_chains_is_not_copied() -> None:
    recorded = captured(lambda x: torch.cat([x, x]), START)
    assert join_growth(recorded.module.graph) is recorded.module.graph


def test_a_part_of_a_chain_that_the_caller_gets_is_memory_of_its_own() -> None:
    def program(x: Tensor):
        sequence = x
        for _ in range(T):
            sequence = torch.cat([sequence, torch.tanh(sequence[:, -1:] @ W)], 1)
        return sequence[:, :3], sequence[:, :3].transpose(0, 1)

    recorded = captured(program, START)
    parts = partition(recorded)
    values = given_values(recorded)
    for result in evaluate(parts.system, values):
        assert result.untyped_storage().data_ptr() != recorded.example.inputs[0].untyped_storage().data_ptr()


@given(
    widths=st.lists(st.integers(1, 3), min_size=4, max_size=6),
    appends=st.booleans(),
    places=st.lists(st.tuples(st.integers(-4, 3), st.integers(1, 3)), min_size=1, max_size=3),
)
def test_every_entry_of_a_chain_is_an_entry_of_a_piece(widths, appends, places) -> None:
    def program(x: Tensor):
        results = []
        for width in widths:
            new = torch.tanh(x[:1].sum() + torch.arange(width, dtype=x.dtype))
            x = torch.cat([x, new] if appends else [new, x])
            results += [x[start] * 2 for start, _ in places]
            results += [x[start : start + size if start + size else None] * 3 for start, size in places]
        return x, results

    recorded = captured(program, torch.randn(4, dtype=torch.float64))
    graph = join_growth(recorded.module.graph)
    found = fx.GraphModule(recorded.module, graph)(*recorded.example.inputs)
    assert all(map(same_bits, found, recorded.example.outputs))
    assert count(graph, aten.select.int) == sum(
        node.args[0].target is not aten.cat.default
        for node in graph.find_nodes(op="call_function", target=aten.select.int)
    )


# Loops over buffers


def grown(step: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The program that appends what `step` makes of the tensor so far."""

    def program(x: Tensor) -> Tensor:
        for _ in range(T):
            x = torch.cat([x, torch.tanh(step(x)).reshape(B, 1, D)], 1)
        return x

    return program


def attention(x: Tensor) -> Tensor:
    return (torch.softmax(x[:, -1:] @ W @ x.transpose(1, 2), -1) @ x @ V)[:, 0]


def causal_attention(x: Tensor) -> Tensor:
    scores = x @ W @ x.transpose(1, 2)
    later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    return (torch.softmax(scores.masked_fill(later, -torch.inf), -1) @ x)[:, -1]


def heads(x: Tensor) -> Tensor:
    q, k, v = (part.reshape(B, -1, 2, D // 2).transpose(1, 2) for part in (x @ W, x @ V, x))
    return F.scaled_dot_product_attention(q, k, v)[:, :, -1].flatten(1)


def causal_heads(x: Tensor) -> Tensor:
    q, k, v = (part.reshape(B, -1, 2, D // 2).transpose(1, 2) for part in (x @ W, x @ V, x))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :, -1].flatten(1)


def one_query(x: Tensor) -> Tensor:
    q, k, v = (part.reshape(B, -1, 2, D // 2).transpose(1, 2) for part in (x[:, -1:] @ W, x @ V, x))
    return F.scaled_dot_product_attention(q, k, v)[:, :, -1].flatten(1)


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda x: x.sum(1),
    "mean": lambda x: x.mean(1),
    "mean of all": lambda x: x.mean() + x[:, -1],
    "amax": lambda x: x.amax(1),
    "max": lambda x: x.max(1).values + x.max(1).indices,
    "min": lambda x: x.min(1).values,
    "argmax": lambda x: x.argmax(1).double() / 5,
    "argmin, whole numbers": lambda x: (x * 3).round().long().argmin(1).double() / 5,
    "logsumexp": lambda x: torch.logsumexp(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 1).amax(1),
    "prod": lambda x: x.cos().prod(1),
    "any and all": lambda x: (x > 0.8).any(1).double() - (x > -0.5).all(1).double(),
    "cumsum": lambda x: x.cumsum(1)[:, -1],
    "linear": lambda x: F.linear(x, W, V[0]).sum(1),
    "layer_norm": lambda x: F.layer_norm(x, [D]).mean(1),
    "norm": lambda x: (x / x.norm(dim=-1, keepdim=True)).sum(1),
    "norm of all": lambda x: x.norm(dim=1),
    "attention": attention,
    "causal attention": causal_attention,
    "heads": heads,
    "causal heads": causal_heads,
    "one query": one_query,
    "last entries": lambda x: x[:, -2:].sum(1) + x.mean(1),
    "first entries": lambda x: x[:, :2].sum(1) + x.mean(1),
    "all but the first": lambda x: x[:, 1:].mean(1),
    "differences": lambda x: (x[:, 1:] - x[:, :-1]).sum(1),
    "negative index": lambda x: x[:, torch.tensor([-1, 0, -2])].sum(1) + x.mean(1),
    "index that grows": lambda x: x[:, torch.arange(x.shape[1])].sum(1),
    "lookup": lambda x: F.embedding(torch.arange(x.shape[1]), TABLE).mul(x).sum(1),
    "lookup by values": lambda x: F.embedding((x[..., 0] * 7).long() % 16, TABLE).sum(1),
    "rows of a table": lambda x: (x + TABLE[: x.shape[1]]).cos().sum(1),
    "table that is too short": lambda x: (x + TABLE[:8][: x.shape[1]]).cos().sum(1),
    "gather": lambda x: x.gather(1, x.argmax(1, keepdim=True))[:, 0],
    "front": lambda x: torch.cat([TABLE[:1].expand(B, 1, D), x], 1).mean(1),
    "zeros": lambda x: torch.cat([x, torch.zeros(B, x.shape[1], 2, dtype=x.dtype)], 2).mean(1)[:, :D],
    "full": lambda x: (x * torch.full((1, x.shape[1], 1), 2.0, dtype=x.dtype)).sum(1),
    "expand": lambda x: (x[:, -1:].expand(B, x.shape[1], D) * x).sum(1),
    "halves": lambda x: torch.cat(x.chunk(2, -1)[::-1], -1).sum(1),
    "squeezed": lambda x: x.unsqueeze(2).transpose(0, 3).squeeze(2).permute(2, 1, 0).sum(1),
    "outer": lambda x: torch.bmm(x.transpose(1, 2), x).sum(1),
    "stacked": lambda x: torch.stack([x, x.cos()], 2).sum((1, 2)),
    "running largest": lambda x: x.cummax(1).values[:, -1] + x.cumprod(1)[:, -1],
    "counted": lambda x: (x > 0).count_nonzero(1).double() + x.nansum(1).cos(),
    "rms norm": lambda x: torch.rms_norm(x, [D], V[0]).sum(1),
    "vector": lambda x: torch.stack([torch.mv(row, V[0]).sum() + W[0] for row in x.unbind(0)]),
    "where": lambda x: torch.where(x > 0, x, x.mean(1, keepdim=True)).sum(1),
}


def poisoned(graph: fx.Graph) -> fx.Graph:
    """The graph with other numbers in all entries of its buffers that are not valid: those have no row in any table."""
    for node in graph.find_nodes(op="call_function", target=aten.constant_pad_nd.default):
        floating = node.meta["spec"].dtype.is_floating_point
        node.args = (*node.args[:2], -7.0 if floating else 10**9)
    return graph


@pytest.mark.parametrize("name", STEPS)
def test_a_tensor_that_is_read_whole_becomes_a_buffer_whose_other_entries_do_not_matter(name: str) -> None:
    recorded = captured(grown(STEPS[name]), START)
    found = find_loops(recorded.module.graph)
    assert max(loop.window.trips for loop in found.rolling.loops) >= T - 1
    assert found.rolling.notes[-1].endswith("sums may round differently")
    for graph in (found.graph, poisoned(found.graph)):
        outputs = fx.GraphModule(recorded.module, graph)(*recorded.example.inputs)
        for one, other in zip(outputs, recorded.example.outputs, strict=False):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_tokens_are_written_into_a_buffer_that_is_read_whole() -> None:
    def program(tokens: Tensor) -> Tensor:
        for _ in range(T):
            logits = causal_attention(F.embedding(tokens, TABLE)) @ TABLE.T
            tokens = torch.cat([tokens, torch.multinomial(torch.softmax(logits, -1), 1)], 1)
        return tokens

    parts = checked(program, torch.tensor([[1, 2], [3, 4]]))
    loop = next(loop for loop in parts.system.repeats if any(isinstance(read, Prefix) for read in loop.reads))
    assert loop.length >= T - 1
    assert any(isinstance(write, FinalBuffer) for write in loop.writes)


def test_keys_and_values_that_grow_are_carried() -> None:
    def program(x: Tensor) -> Tensor:
        keys, values = x[:, None] @ W, x[:, None] @ V
        for _ in range(T):
            keys, values = torch.cat([keys, x[:, None] @ W], 1), torch.cat([values, x[:, None] @ V], 1)
            x = x + (torch.softmax(x[:, None] @ keys.transpose(1, 2), -1) @ values)[:, 0]
        return x

    recorded = captured(program, numbers(B, D).double())
    parts = partition(recorded)
    (outcome,) = evaluate(parts.system, given_values(recorded))
    torch.testing.assert_close(outcome, recorded.example.outputs[0], rtol=1e-12, atol=1e-12)
    loop = max(parts.system.repeats, key=lambda repeat: len(repeat.reads))
    assert loop.length == T
    assert {Lag, Table, Slices} <= {type(read) for read in loop.reads}
    assert "dim 1 of aten.cat.default" in parts.notes[-1]
    assert "grows by 1" in parts.notes[-1]


def test_a_list_that_is_stacked_anew_at_each_step_is_a_buffer() -> None:
    def program(x: Tensor) -> Tensor:
        history = [x]
        for _ in range(T):
            history.append(torch.tanh(torch.stack(history).mean(0) @ W))
        return torch.stack(history, 1)

    parts = partition(captured(program, numbers(B, D).double()))
    assert max(loop.length for loop in parts.system.repeats) >= T - 1


def test_weights_that_widen_with_the_features_are_stacked() -> None:
    weights = [numbers(D, D + k * D).double() / 4 for k in range(T)]

    def program(x: Tensor) -> Tensor:
        for weight in weights:
            x = torch.cat([x, torch.relu(F.linear(x, weight))], 1)
        return x

    recorded = captured(program, numbers(B, D).double())
    parts = partition(recorded)
    (outcome,) = evaluate(parts.system, given_values(recorded))
    torch.testing.assert_close(outcome, recorded.example.outputs[0], rtol=1e-12, atol=1e-12)
    assert max(loop.length for loop in parts.system.repeats) >= T - 1


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda x: x.sort(1).values[:, 0] + x.mean(1), "aten.sort.default"),
        (lambda x: x.flip(1)[:, 0] * x.mean(1), "aten.flip.default"),
        (lambda x: x.flatten(1).cumsum(1)[:, -D:], "folds a growing dimension with another one"),
        (lambda x: F.layer_norm(x.transpose(1, 2), x.shape[1:2]).sum(2), "normalises over a growing dimension"),
        (lambda x: (7 % (1 + x.long().abs())).double().sum(1), "divides integers by entries that grow"),
    ],
)
def test_steps_without_a_rule_stay_as_they_are_and_are_noted_with_their_source_line(step, reason: str) -> None:
    parts = checked(grown(step), START)
    assert not parts.system.repeats
    (note,) = parts.notes
    assert reason in note
    assert "grows by" in note
    assert note.count("test_growth.py:") == 3


def test_shapes_that_change_by_no_rule_are_noted() -> None:
    def program(x: Tensor) -> Tensor:
        for _ in range(5):
            x = torch.cat([torch.tanh(x @ W), x.cos()], 1)
        return x

    parts = checked(program, START)
    (note,) = parts.notes
    assert "not by the same amount" in note
    assert "test_growth.py:" in note


KINDS = (torch.tanh, torch.sin, torch.cos, torch.sigmoid, torch.atan, torch.erf)


def growing_loops(count: int) -> Callable[[Tensor], Tensor]:
    """Loops one after the other, each of other steps, that look at all they have made."""

    def program(x: Tensor) -> Tensor:
        for number in range(count):
            made = x[None]
            for _ in range(T):
                h = KINDS[number](made.sum(0) @ W)
                made = torch.cat([made, h[None]])
            x = made[-1]
        return x

    return program


def test_many_growing_loops_are_found_in_as_few_looks_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def look(graph: fx.Graph, *args: Any, **kwargs: Any) -> Calls:
        calls = read_calls(graph, *args, **kwargs)
        looks.append(len(calls.nodes))
        return calls

    monkeypatch.setattr(find, "read_calls", look)
    labels: dict[int, float] = {}
    for number in (1, 6):
        program = captured(growing_loops(number), START[:, 0, :])
        looks.clear()
        found = partition(program)
        assert sum("were rolled" in note for note in found.notes) == number
        labels[number] = sum(looks) / len(program.module.graph.nodes)
    assert labels[6] <= 1.5 * labels[1]


def test_growing_loops_one_after_the_other_give_what_they_gave() -> None:
    recorded = captured(growing_loops(4), START[:, 0, :])
    found = partition(recorded)
    (value,) = evaluate(found.system, given_values(recorded))
    torch.testing.assert_close(value, recorded.example.outputs[0])
    assert sum("were rolled" in note for note in found.notes) == 4
