"""The picture: nothing overlaps, nothing is cut, and its size does not depend on the trip count."""

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator

import pytest

from fxsolve.ir.spec import Block, System
from fxsolve.view.svg import draw_system
from tests.view.samples import body, gru, many_reads, one_block, seven

SVG = "{http://www.w3.org/2000/svg}"
SYSTEMS = [one_block, gru, seven, many_reads, lambda: many_reads(300)]


def texts(svg: str) -> list[ET.Element]:
    return list(ET.fromstring(svg).iter(f"{SVG}text"))


def words(svg: str) -> list[str]:
    return [text.text or "" for text in texts(svg)]


def boxes(svg: str) -> Iterator[tuple[float, float, float, float]]:
    """Left, right, top and bottom of each text."""
    for text in texts(svg):
        size = float(text.get("font-size", "12"))
        wide = 0.6021 * size * len((text.text or "").rstrip())
        x, y = float(text.get("x", "nan")), float(text.get("y", "nan"))
        left = x - wide if text.get("text-anchor") == "end" else x
        yield left, left + wide, y - 0.8 * size, y + 0.2 * size


@pytest.mark.parametrize("make", SYSTEMS)
def test_no_two_texts_overlap(make: Callable[[], System]) -> None:
    placed = list(boxes(draw_system(make(), "gs(" + "jacobi(cell[0:100]), " * 20 + "after)")))
    for i, (left, right, top, bottom) in enumerate(placed):
        for other_left, other_right, other_top, other_bottom in placed[:i]:
            assert right <= other_left or other_right <= left or bottom <= other_top or other_bottom <= top


@pytest.mark.parametrize("make", SYSTEMS)
def test_everything_is_inside_the_picture(make: Callable[[], System]) -> None:
    svg = draw_system(make())
    root = ET.fromstring(svg)
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    for left, right, top, bottom in boxes(svg):
        assert left >= 0
        assert right <= width
        assert top >= 0
        assert bottom <= height


@pytest.mark.parametrize("make", SYSTEMS)
def test_no_text_is_smaller_than_12_pixels(make: Callable[[], System]) -> None:
    assert all(float(text.get("font-size", "12")) >= 12 for text in texts(draw_system(make())))


def test_a_repeat_is_drawn_once_with_its_trip_count_and_its_loop_edge() -> None:
    shown = words(draw_system(gru(), "gs(before, jacobi(cell), after)"))
    assert shown.count("cell x 4,096") == 1
    assert "h, lag 1" in shown
    assert "4 ops, cell.py:31" in shown
    assert "schedule: gs(before, jacobi(cell), after)" in shown
    assert {"x_proj", "cell.weight_hh", "h0", "hs", "h_T", "y"} <= set(shown)


def test_every_loop_edge_of_twenty_is_labelled() -> None:
    shown = words(draw_system(many_reads(20)))
    assert all(f"state_{i}, lag 1" in shown and f"start_{i}" in shown for i in range(20))


def test_hundreds_of_equal_rows_are_folded_and_counted() -> None:
    shown = words(draw_system(many_reads(300)))
    assert shown.count("(292 more)") == 4
    assert "state_295, lag 1 and 291 more" in shown
    assert "end_0" in shown
    assert "end_150" not in shown


def test_stacked_reads_and_buffers_are_named_without_one_line_per_step() -> None:
    shown = words(draw_system(seven()))
    assert "layers.0.weight .. layers.63.weight (64)" in shown
    assert "image, prefix" in shown
    assert "x, lag 2" in shown
    assert "layers.5.weight" not in " ".join(shown)


def test_the_legend_explains_the_kinds_in_use_and_no_others() -> None:
    shown = words(draw_system(gru()))
    assert {"slices", "lag", "invariant", "table"} <= set(shown)
    assert "prefix" not in shown
    assert "stacked" not in shown


def test_the_picture_of_100_000_steps_is_as_large_as_that_of_4_and_comes_at_once() -> None:
    system = gru(100_000)
    start = time.perf_counter()
    svg = draw_system(system)
    assert time.perf_counter() - start < 0.5
    assert abs(len(svg) - len(draw_system(gru(4)))) < 100


def test_names_are_escaped_and_long_ones_are_kept_whole_in_a_tooltip() -> None:
    long = "a" * 90 + "<&>"
    block = Block('one"<b>', body(("x",)), (long,), ("y",))
    root = ET.fromstring(draw_system(System((long,), (block,), ("y",))))
    assert long in [title.text for title in root.iter(f"{SVG}title")]
    assert 'one"<b>' in [text.text for text in root.iter(f"{SVG}text")]


def test_a_system_without_equations_hands_its_inputs_on() -> None:
    shown = words(draw_system(System(("x",), (), ("x",))))
    assert "outputs" in shown
    assert "x" in shown
