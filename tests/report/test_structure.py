"""What the report says of straight-line code: who reads whom, and what parallel units would give, from given times."""

from dataclasses import replace

import pytest
import torch
from torch import fx, nn

import fxsolve
from fxsolve.ir.spec import Block, System
from fxsolve.report.from_json import from_json
from fxsolve.report.report import Report
from fxsolve.report.structure import structure_report, verdict
from fxsolve.report.to_json import to_json
from tests.report.samples import LEFT_ALONE
from tests.straight import network


def block(name: str, *reads: str) -> Block:
    graph = fx.Graph()
    inputs = [graph.placeholder(f"in{k}") for k in range(len(reads))]
    graph.output((graph.call_function(torch.stack, (inputs,)),))
    return Block(name, fx.GraphModule(nn.Module(), graph), reads, (f"{name}_out",))


# a -> b -> d, a -> c -> d, and a -> d
DIAMOND = System(
    ("x",),
    (
        block("a", "x"),
        block("b", "a_out"),
        block("c", "a_out"),
        block("d", "b_out", "c_out", "a_out"),
    ),
    ("d_out",),
)
CHAIN = System(("x",), (block("a", "x"), block("b", "a_out"), block("c", "a_out", "b_out")), ("c_out",))


def test_times_follow_from_those_of_the_blocks() -> None:
    found = structure_report(DIAMOND, [1.0, 2.0, 3.0, 1.0])
    assert [one.level for one in found.blocks] == [1, 2, 2, 3]
    assert (found.depth, found.width, found.skips) == (3, 2, 1)
    assert found.longest is not None
    assert (found.longest.source, found.longest.target, found.longest.span) == ("a", "d", 2)
    assert (found.sequential_seconds, found.chain_seconds, found.slowest_seconds) == (7.0, 5.0, 3.0)
    assert [(one.units, one.seconds) for one in found.units] == [(2, 5.0)]


def test_the_verdict_says_what_units_would_give() -> None:
    assert "up to 2 at once would give 1.40x" in verdict(structure_report(DIAMOND, [1.0, 2.0, 3.0, 1.0]))
    chain = verdict(structure_report(CHAIN, [1.0, 2.0, 1.0]))
    assert "nothing could run beside the longest chain" in chain
    assert "below 2 sweeps of at most 3" in chain


@pytest.mark.parametrize("system", [DIAMOND, CHAIN])
def test_it_is_in_the_text_and_comes_back_from_json(system: System) -> None:
    structure = structure_report(system, [0.5, 0.25, 0.125, 0.5][: len(system.equations)])
    report: Report = replace(LEFT_ALONE, structure=structure)
    assert from_json(to_json(report)) == report
    text = " ".join(str(report).split())
    assert "verdict: sequential is best here" in text
    assert f"{len(system.equations)}, 3 deep" in text


def test_a_network_that_is_left_alone_says_why_in_figures() -> None:
    model, x = network("branches")
    with torch.no_grad():
        fast = fxsolve.compile(model, backend="eager")
        fast(x)
    report = fast.report()
    assert report.status == "left alone"
    assert report.reason.startswith("sequential is best here: 11 blocks, 7 deep; no loop was found")
    assert report.structure is not None
    assert report.structure.width == 2
    assert report.structure.chain_seconds <= report.structure.sequential_seconds
    assert all(one.seconds > 0 for one in report.structure.blocks)


def test_a_program_of_loops_says_nothing_of_it() -> None:
    cell = nn.GRUCell(3, 4)

    def model(x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(2, 4)
        for t in range(8):
            h = cell(x[t], h)
        return h

    with torch.no_grad():
        fast = fxsolve.compile(model, backend="eager")
        fast(torch.randn(8, 2, 3))
    assert fast.report().structure is None
