"""The Graphviz source has a node for each equation, and an edge for each read."""

import shutil
from pathlib import Path

import pytest

from fxsolve.ir.spec import Block, System
from fxsolve.view.dot import draw_dot
from fxsolve.view.drawing import Drawing
from tests.view.samples import body, gru, seven


def test_a_repeat_is_one_node_with_a_loop_edge() -> None:
    source = draw_dot(gru(), "gs(before, jacobi(cell), after)").source
    assert source.count("cell x 4,096") == 1
    assert '\tcard1 -> card1 [label="h, lag 1"]' in source
    assert "\tcard0 -> card1 [label=x_proj]" in source
    assert "schedule: gs(before, jacobi(cell), after)" in source


def test_program_inputs_are_labels_with_an_edge() -> None:
    source = draw_dot(gru()).source
    assert '[label="cell.weight_hh" shape=plaintext]' in source


def test_the_source_does_not_grow_with_the_trip_count() -> None:
    assert abs(len(draw_dot(gru(100_000)).source) - len(draw_dot(gru(4)).source)) < 100


def test_every_equation_has_a_node() -> None:
    source = draw_dot(seven()).source
    assert all(f"\tcard{number} [label=" in source for number in range(8))


def test_a_backslash_in_a_name_is_printed_as_it_is() -> None:
    block = Block("b", body(("x",)), ("a\\nb",), ("y",))
    assert "a\\\\nb" in draw_dot(System(("a\\nb",), (block,), ("y",))).source


@pytest.mark.skipif(shutil.which("dot") is None, reason="no Graphviz")
@pytest.mark.parametrize(("ending", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_graphviz_draws_pictures_of_dots_and_of_pages(ending: str, begins: bytes, tmp_path: Path) -> None:
    path = Drawing(gru(4), "gs(cell)").save(tmp_path / "new" / f"gru.{ending}")
    assert path.read_bytes().startswith(begins)
