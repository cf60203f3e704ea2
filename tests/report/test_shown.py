"""How reports, pictures, systems and programs show themselves, and what they are saved as."""

import io
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import InputError
from fxsolve.report.from_json import from_json

x = torch.ones(16, 3)


def loop(x: Tensor) -> Tensor:
    h = x[0]
    for x_t in x:
        h = torch.tanh(h + x_t)
    return h


class Drawn(nn.Module):
    """Has a method of its own by a name of ours."""

    def forward(self, x: Tensor) -> Tensor:
        return loop(x)

    def draw(self, count: int) -> int:
        return count


@pytest.fixture(scope="module")
def fast() -> Any:
    compiled: Any = fxsolve.compile(loop, (x,), schedule="gs", backend="eager")
    return compiled


def test_a_report_is_one_line_in_a_prompt_and_a_page_in_a_notebook(fast: Any) -> None:
    report = fast.report()
    assert repr(report).startswith("<loop(float32[16, 3]): gs(")
    assert "\n" not in repr(report)
    page = report._repr_html_()
    assert page.startswith("<pre")
    assert "loop0" in page


def test_rich_prints_a_report_in_the_width_of_the_console(fast: Any) -> None:
    narrow, wide = (Console(width=width, file=io.StringIO(), record=True) for width in (70, 120))
    for console in (narrow, wide):
        console.print(fast.report())
        assert max(len(line.rstrip()) for line in console.export_text().splitlines()) <= console.width


def test_a_report_is_saved_by_its_ending_into_new_folders(fast: Any, tmp_path: Path) -> None:
    for ending in ("html", "json", "md", "txt"):
        path = fast.save(tmp_path / "new" / ending / f"report.{ending}")
        assert "loop0" in path.read_text()
    assert from_json((tmp_path / "new/json/report.json").read_text()) == fast.report()
    assert (tmp_path / "new/html/report.html").read_text().startswith("<!doctype html>")


def test_a_picture_shows_what_runs(fast: Any, tmp_path: Path) -> None:
    drawing = fast.draw()
    assert "schedule: gs(" in drawing._repr_svg_()
    assert repr(drawing).startswith("Drawing(System((input_0")
    for ending in ("svg", "dot", "txt", "html"):
        assert "schedule: gs(" in fast.save(tmp_path / f"a/picture.{ending}").read_text() or ending == "html"
    assert ET.parse(tmp_path / "a/picture.svg").getroot().tag.endswith("svg")


def test_a_program_that_is_left_alone_is_drawn_with_the_reason() -> None:
    def cheap(x: Tensor) -> Tensor:
        for _ in range(8):
            x = x + 1
        return x

    left: Any = fxsolve.compile(cheap, (x,), backend="eager")
    if left.report().status == "left alone":
        assert "original (left alone: " in left.draw().text


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    compiled: Any = fxsolve.compile(loop)
    with pytest.raises(InputError, match="nothing to draw: not called yet"):
        compiled.draw()


def test_other_endings_are_refused(fast: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a picture ends in one of \.svg, "):
        fast.save(tmp_path / "picture.gif")
    with pytest.raises(InputError, match=r"a report ends in one of \.html, "):
        fast.report().save(tmp_path / "report.svg")
    assert not list(tmp_path.iterdir())


def test_the_methods_of_a_model_go_first() -> None:
    model: Any = fxsolve.compile(Drawn(), (x,), schedule="gs", backend="eager")
    assert model.draw(3) == 3
    assert model.save.func is not None
    assert "save" in dir(model)


def test_systems_and_programs_are_one_line() -> None:
    program = fxsolve.capture(loop, x)
    assert repr(program) == "Program(loop: 50 calls, 0 draws, 0 guards)"
    system = fxsolve.partition(program).system
    assert repr(system).startswith("System((input_0) -> ")
    assert "loop0 x 16" in repr(system)


def test_the_overview_has_every_program_that_is_kept() -> None:
    one = fxsolve.compile(loop, (x,), schedule="gs", backend="eager")
    one(x)
    seen = [row for row in fxsolve.entries() if row.program == "loop" and row.entry in one.entries]
    assert seen[-1].entry.calls == 1
    text = str(fxsolve.entries())
    assert "what runs" in text
    assert "float32[16, 3]" in text
    assert "<td>loop</td>" in fxsolve.entries()._repr_html_()
    before = len(fxsolve.entries())
    del one
    assert len(fxsolve.entries()) <= before
