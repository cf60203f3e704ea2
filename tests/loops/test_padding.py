"""A growing loop on buffers gives what it gave, whatever stands in the entries that are not valid."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, fx
from torch.nn import functional as F

from fxsolve.ir.bodies import add_placeholder
from fxsolve.ir.tensor_spec import spec_of
from fxsolve.loops.growing.sizes import Growing, find_growing, rank_and_dtype
from fxsolve.loops.padding.joins import broadcast
from fxsolve.loops.padding.rules import pad_call
from fxsolve.loops.padding.values import NoRuleError, Padder, growing_factor, plain
from fxsolve.loops.padding.views import deal_out
from fxsolve.loops.padding.window import pad_window
from fxsolve.loops.rolling.roll import roll
from fxsolve.loops.rolling.signature import Calls, read_calls
from fxsolve.stages import capture
from tests.loops.small import numbers

aten = torch.ops.aten
T, N = 8, 3
TABLE = numbers(2, N)

Step = Callable[[Tensor, Tensor], Tensor]  # what a step makes of the (n, N) entries so far and of its input

STEPS: dict[str, Step] = {
    "mm": lambda s, x: (s.t() @ s) @ x,
    "mv": lambda s, x: s.t() @ (s @ x),
    "addmm": lambda s, x: torch.addmm(x, s.t(), s).sum(0),
    "bmm": lambda s, x: torch.bmm(s.t()[None], s[None])[0].sum(0),
    "attention": lambda s, x: F.scaled_dot_product_attention(x.view(1, 1, 1, N), s[None, None], s[None, None]).view(N),
    "embedding": lambda s, x: F.embedding((s[:, 0] > 0).long(), TABLE).sum(0),
    "index": lambda s, x: TABLE[(s[:, 0] > 0).long()].sum(0),
    "gather": lambda s, x: s.gather(1, (s > 0).long()).sum(0),
    "softmax": lambda s, x: torch.softmax(s @ x, 0) @ s,
    "mean": lambda s, x: s.mean(0),
    "max": lambda s, x: (s - 9).max(0).values,
    "amin": lambda s, x: (s + 9).amin(0),
    "argmax": lambda s, x: (s - 9).argmax(0).float(),
    "cumsum": lambda s, x: s.cumsum(0)[-1],
    "norm": lambda s, x: s.norm(dim=0),
    "layer_norm": lambda s, x: F.layer_norm(s, (N,)).sum(0),
    "logsumexp": lambda s, x: (s - 9).logsumexp(0),
    "any": lambda s, x: (s > 0.5).any(0).float(),
    "all": lambda s, x: (s > -0.5).all(0).float(),
    "prod": lambda s, x: s.prod(0),
    "permute": lambda s, x: s.permute(1, 0).amax(1),
    "unsqueeze": lambda s, x: s.unsqueeze(1).squeeze(1).sum(0),
    "last": lambda s, x: s[-1] + s[-2],
    "rest": lambda s, x: s[1:].sum(0),
    "window": lambda s, x: s[-2:].sum(0),
    "view": lambda s, x: s.reshape(-1).view(-1, N).sum(0),
    "split": lambda s, x: torch.cat([part.sum(0) for part in s.split(1, dim=1)]),
    "expand": lambda s, x: (x.expand(len(s), N) * s).sum(0),
    "tril": lambda s, x: s.tril().sum(0),
    "in front": lambda s, x: torch.cat([x[None], s]).sum(0),
    "zeros": lambda s, x: (torch.zeros(len(s), N) + s).amax(0),
    "arange": lambda s, x: torch.arange(len(s)).float() @ s,
}


def growing(step: Step) -> tuple[fx.GraphModule, Calls, Growing, Tensor]:
    def program(x: Tensor) -> Tensor:
        s = x[:2]
        for x_t in x:
            s = torch.cat([s, torch.tanh(step(s, x_t) * 0.5 + x_t)[None]])
        return s

    x = numbers(T, N)
    module = capture(program, x).module
    module.graph.eliminate_dead_code()
    calls = read_calls(module.graph, describe=rank_and_dtype)
    (loop,), _ = find_growing(calls)
    return module, calls, loop, x


@pytest.mark.parametrize("name", STEPS)
def test_valid_entries_are_what_they_were_whatever_numbers_the_others_are(name: str) -> None:
    module, calls, loop, x = growing(STEPS[name])
    (wanted,) = module(x)
    assert pad_window(module.graph, calls, loop) is None
    module.graph.lint()
    rolled = roll(read_calls(module.graph)).loops
    assert max(one.window.trips for one in rolled) >= loop.window.trips - 2
    for node in module.graph.find_nodes(op="call_function", target=aten.constant_pad_nd.default):
        if node.meta["spec"].dtype.is_floating_point:
            node.args = (*node.args[:2], 7.0)
    module.recompile()
    torch.testing.assert_close(module(x)[0], wanted)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (
            lambda s, x: s.flip(0).cumsum(0)[-1],
            r"aten.flip.default at .*test_padding.py:\d+ has no rule for a dimension",
        ),
        (lambda s, x: s.norm(0.0, dim=0), r"at .*test_padding.py:\d+ takes a norm whose order is not positive"),
    ],
    ids=["no rule", "norm"],
)
def test_a_loop_without_a_rule_stays_as_it_was_and_says_why(step: Step, reason: str) -> None:
    module, calls, loop, _ = growing(step)
    before = [(node.name, str(node.args)) for node in module.graph.nodes]
    found = pad_window(module.graph, calls, loop)
    assert found is not None
    assert re.search(reason, found)
    assert [(node.name, str(node.args)) for node in module.graph.nodes] == before


def test_dimensions_broadcast_where_they_grow_alike() -> None:
    size = growing_size()
    assert broadcast([((), (3,)), ((size,), ())]) == ((size,), (3,))
    assert broadcast([((3,),), ((size,), (3,))]) == ((size,), (3,))
    with pytest.raises(NoRuleError, match="broadcasts dimensions that grow differently"):
        broadcast([((3,),), ((size,),)])


def test_a_growing_dimension_is_one_factor_or_refused() -> None:
    size = growing_size()
    assert growing_factor((size,)) == size
    assert growing_factor(plain(3)) is growing_factor(plain(1)) is None
    with pytest.raises(NoRuleError, match="folds a growing dimension with another one"):
        growing_factor((2, size))


def test_factors_are_dealt_out_to_the_sizes_in_order() -> None:
    size = growing_size()
    wide, plain_six = type(size)(2 * size.first, 2 * size.slope), type(size)(6, 0)
    assert deal_out([2, size, 6], (wide, plain_six)) == ((2, size), (6,))
    assert deal_out([6, size], (type(size)(2, 0), type(size)(3, 0), size)) == ((2,), (3,), (size,))
    with pytest.raises(NoRuleError, match="views a growing dimension in another way"):
        deal_out([size, 6], (wide, plain_six))


@pytest.mark.parametrize("widths", [(2, 8), (8, 2), (1, 12), (12, 1), (4, 4), (0, 8)])
def test_factors_in_another_order_than_the_sizes_are_refused(widths: tuple[int, int]) -> None:
    size, (batch, wide) = growing_size(), widths
    plain_batch, plain_wide = type(size)(batch, 0), type(size)(wide, 0)
    with pytest.raises(NoRuleError):
        deal_out([batch, size, wide], (plain_batch, plain_wide, size))


def test_a_call_on_values_that_do_not_grow_is_written_as_it_was() -> None:
    graph = fx.Graph()
    x = add_placeholder(graph, "x", spec_of(torch.zeros(2, 1)))
    call = graph.call_function(aten.exp.default, (x,))
    call.meta["spec"] = spec_of(torch.zeros(2, 1))
    padder = Padder(graph, {})
    padder.call = call
    found = pad_call(padder, call)
    assert not isinstance(found, tuple)
    assert (found.node.target, found.node.args, found.dims) == (aten.exp.default, (x,), ((2,), ()))
    assert not found.grows


def growing_size() -> Any:
    """A size that grows with the step."""
    _, _, loop, _ = growing(STEPS["mean"])
    return next(size for size in loop.all_sizes() if size.slope)
