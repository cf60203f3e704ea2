"""The picture of straight-line code: every block by its name, every skip an arc in the colour of its span."""

import time
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
import torch
from torch import nn

import fxsolve
from fxsolve.ir.spec import Block, System
from fxsolve.structure.quotient import levels_of, skips_of
from fxsolve.view import straight
from fxsolve.view.dot import draw_dot
from fxsolve.view.straight import colour_of, draw_straight, reads_of
from fxsolve.view.svg import draw_system
from tests.straight import network
from tests.view.samples import body
from tests.view.test_svg import SVG, boxes, words

NAMES = ("unet", "branches", "densenet", "cell")


def system_of(name: str) -> System:
    model, x = network(name)
    with torch.no_grad():
        return fxsolve.partition(fxsolve.capture(model, x)).system


@pytest.fixture(scope="module", params=NAMES)
def system(request: pytest.FixtureRequest) -> System:
    return system_of(request.param)


def test_every_block_has_a_row_with_its_name(system: System) -> None:
    shown = words(draw_system(system))
    assert all(equation.name.removeprefix("block0.") in shown for equation in system.equations)


def test_every_skip_is_an_arc_in_the_colour_of_its_span(system: System) -> None:
    paths = ET.fromstring(draw_system(system)).iter(f"{SVG}path")
    arcs = Counter({one.get("stroke", ""): one.get("d", "").count("A") for one in paths})
    assert arcs == Counter(colour_of(one.span) for one in skips_of(reads_of(system)))


def test_every_read_is_a_square_of_the_matrix(system: System) -> None:
    reads = reads_of(system)
    level = levels_of(reads)
    covered: Counter[str] = Counter()
    for one in ET.fromstring(draw_system(system)).iter(f"{SVG}rect"):
        if one.get("height") == "16.0":  # those of the legend are smaller
            covered[one.get("fill", "")] += round(float(one.get("width", "0")) / 9)
    pairs = [(source, target) for target, sources in enumerate(reads) for source in sources]
    wanted = Counter(colour_of(level[target] - level[source]) for source, target in pairs)
    assert {colour: covered[colour] for _, colour in straight.SPANS if covered[colour]} == wanted


def test_nothing_overlaps_and_nothing_is_cut(system: System) -> None:
    svg = draw_system(system, "gs(" + "jacobi(block0.a..block0.b), " * 12 + ")")
    width, height = (float(ET.fromstring(svg).get(side, "0")) for side in ("width", "height"))
    placed = list(boxes(svg))
    for i, (left, right, top, bottom) in enumerate(placed):
        assert min(left, top) >= 0
        assert right <= width
        assert bottom <= height
        for other_left, other_right, other_top, other_bottom in placed[:i]:
            assert right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top


def test_graphviz_gets_a_rank_for_each_level(system: System) -> None:
    source = draw_dot(system).source
    depth = max(levels_of(reads_of(system)))
    assert source.count("rank=same") == len(system.equations)
    assert f"level{depth}" in source
    assert f"level{depth + 1}" not in source


def test_colours_change_with_the_span() -> None:
    assert [straight.SPANS[k][1] for k in (0, 1, 1, 2, 2, 3, 3, 4, 4)] == list(
        map(colour_of, (1, 2, 3, 4, 7, 8, 15, 16, 99))
    )


def test_a_system_with_loops_alone_is_drawn_as_before() -> None:
    cell = nn.Linear(3, 3)

    def model(x: torch.Tensor) -> torch.Tensor:
        for _ in range(9):
            x = torch.tanh(cell(x))
        return x

    with torch.no_grad():
        svg = draw_system(fxsolve.partition(fxsolve.capture(model, torch.randn(2, 3))).system)
    assert straight._TITLES[1] not in words(svg)


def test_thousands_of_blocks_take_a_moment() -> None:
    names = [f"b{k}" for k in range(2500)]
    far = torch.randint(0, 40, (2500,)).tolist()
    equations = [Block("b0", body(("x",)), ("x",), ("b0_out",))]
    shared = body(("x", "y"))
    for k in range(1, 2500):
        reads = (f"b{k - 1}_out", f"b{max(k - 1 - far[k], 0)}_out")
        equations.append(Block(names[k], shared, reads, (f"b{k}_out",)))
    start = time.process_time()
    svg = draw_straight(System(("x",), tuple(equations), ("b2499_out",)), ("2,500 blocks",))
    assert time.process_time() - start < 3
    assert len(svg) < 5_000_000
