"""Random networks with skips, joins and branches: sweeps and levels give their values and gradients."""

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import fxsolve
from fxsolve.ir.spec import Block
from fxsolve.plan.auto import example_values
from fxsolve.plan.lower_blocks import swept_blocks
from fxsolve.solvers.stop import Stop


class RandomNetwork(nn.Module):
    """Layer k joins, or adds up, what `reads[k]` say of the input (0) and the layers before it."""

    def __init__(self, widths: list[int], reads: list[list[int]]) -> None:
        super().__init__()
        self.reads = reads
        sizes = [4, *widths]
        self.adds = [len({sizes[k] for k in sources}) == 1 for sources in reads]
        wide = [
            sizes[one[0]] if adds else sum(sizes[k] for k in one) for one, adds in zip(reads, self.adds, strict=True)
        ]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(wide, widths, strict=True)).double()

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for layer, sources, adds in zip(self.layers, self.reads, self.adds, strict=True):
            given = [seen[k] for k in sources]
            seen.append(torch.tanh(layer(sum(given[1:], given[0]) if adds else torch.cat(given, 1))))
        return torch.cat(seen[-2:], 1)


@st.composite
def networks(draw: st.DrawFn) -> RandomNetwork:
    count = draw(st.integers(3, 9))
    widths = draw(st.lists(st.integers(2, 5), min_size=count, max_size=count))
    reads = [sorted(draw(st.sets(st.integers(0, k), min_size=1, max_size=3))) for k in range(count)]
    torch.manual_seed(0)
    return RandomNetwork(widths, reads)


@given(networks(), st.sampled_from(["jacobi", "levels"]))
@settings(max_examples=6, deadline=None)
def test_values_and_gradients_are_those_of_the_network(net: RandomNetwork, method: str) -> None:
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    fast = fxsolve.compile(net, backend="eager", schedule=method, tolerance=0)
    for _ in range(2):
        y = fast(x)
    expected = net(x)
    assert torch.allclose(y, expected, rtol=0, atol=1e-12)
    wanted = [x, *net.parameters()]
    pairs = zip(
        torch.autograd.grad(y.square().sum(), wanted, allow_unused=True),
        torch.autograd.grad(expected.square().sum(), wanted, allow_unused=True),
        strict=True,
    )
    for found, right in pairs:
        assert (found is None and right is None) or torch.allclose(found, right, rtol=1e-10, atol=1e-12)
    assert all(run.sweeps <= run.length for run in fast.report().runs)


@given(networks(), st.integers(0, 100))
@settings(max_examples=6, deadline=None)
def test_as_many_sweeps_as_they_are_deep_are_exact_from_any_start(net: RandomNetwork, seed: int) -> None:
    """Song et al. 2021, proposition 1; evaluating final levels again changes nothing."""
    with torch.no_grad():
        program = fxsolve.capture(net, torch.randn(2, 4, dtype=torch.float64))
        equations = fxsolve.partition(program).system.equations
        blocks = [one for one in equations if isinstance(one, Block)]
        assume(len(blocks) == len(equations))  # none of its layers are a loop
        swept = swept_blocks([[one] for one in blocks], Stop())
        known = example_values(program)
        given_values = tuple(known[name] for name in swept.given)
        right = swept.blocks.in_order(swept.blocks.start(given_values), 1)
        torch.manual_seed(seed)
        values = [*given_values, *(10 * torch.randn_like(one) for one in right[len(given_values) :])]
        for _ in range(max(swept.blocks.levels)):
            values = swept.blocks.sweep(values)
        assert all(torch.equal(one, other) for one, other in zip(values, right, strict=True))


@given(networks())
@settings(max_examples=6, deadline=None)
def test_the_backward_pass_is_the_forward_pass_the_other_way_round(net: RandomNetwork) -> None:
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    equations = fxsolve.partition(fxsolve.capture(net, x)).system.equations
    assume(all(isinstance(one, Block) for one in equations))
    passes: list[list[str]] = [[], []]
    for one in equations:
        passes["_backward" in one.name].append(one.name.partition(".")[2])
    forward, backward = passes
    assert backward == [name for name in reversed(forward) if name in backward]
    assert {name for name in forward if name.startswith("layers")}.issubset(backward)


@given(networks())
@settings(max_examples=6, deadline=None)
def test_gradients_within_a_tolerance_are_those_of_the_network(net: RandomNetwork) -> None:
    """Layers that are alike are swept at once, in both passes."""
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    fast = fxsolve.compile(net, backend="eager", schedule="jacobi", tolerance=1e-13)
    fast(x)
    wanted = [x, *net.parameters()]
    found = torch.autograd.grad(fast(x).square().sum(), wanted, allow_unused=True)
    expected = torch.autograd.grad(net(x).square().sum(), wanted, allow_unused=True)
    for one, right in zip(found, expected, strict=True):
        assert (one is None and right is None) or torch.allclose(one, right, rtol=1e-10, atol=1e-10)
    assert fast.report().status == "emitted"
