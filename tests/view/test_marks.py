"""Marks of pictures, code in colours, and notebooks."""

import sys
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

from fxsolve.capture.program import Program
from fxsolve.ir.spec import System
from fxsolve.view.highlighted import code_style, highlighted, start_of
from fxsolve.view.marks import link, name, page, path, side_by_side, text, tip
from fxsolve.view.notebook import show_in_notebooks
from tests.view.samples import gru


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def test_words_are_never_markup() -> None:
    drawn = page(
        [text(1, 2, "<a & b>"), name(1, 2, "<" * 99), link("<x>", path("M0 0", "red")), tip(8, 0, 1, "red")], 9, 9
    )
    texts = ["".join(one.itertext()) for one in parsed(drawn).iter() if one.tag.endswith("text")]
    assert texts[0] == "<a & b>"
    assert texts[1].startswith("<")
    assert len(texts[1]) < 99


def test_a_long_name_is_clipped_and_whole_in_its_tooltip() -> None:
    (title,) = parsed(f"<svg>{name(0, 0, 'layer.' * 30)}</svg>").iter("title")
    assert title.text == "layer." * 30
    assert "title" not in name(0, 0, "layer")


def test_two_pictures_side_by_side_are_as_wide_as_both_and_as_tall_as_the_taller() -> None:
    both = parsed(side_by_side(page([], 100, 40), page([], 30, 70)))
    assert (both.get("width"), both.get("height")) == ("130", "70")
    assert [one.get("x") for one in both if one.tag.endswith("svg")] == [None, "100"]


def test_code_keeps_its_words_and_no_more_lines_than_wanted() -> None:
    assert "&lt;" in highlighted("x < y")
    assert start_of("a\nb\nc", 3) == "a\nb\nc"
    assert start_of("a\nb\nc\nd", 2) == "a\nb\n# 2 more lines"
    assert "prefers-color-scheme: dark" in code_style()


def test_a_notebook_draws_systems_and_prints_the_code_of_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: dict[Any, Any] = {}
    kind = SimpleNamespace(for_type=lambda of, how: shown.update({of: how}))
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"image/svg+xml": kind, "text/plain": kind}))
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))  # pyright: ignore
    show_in_notebooks()
    assert set(shown) == {System, Program}
    assert shown[System](gru()).startswith("<svg")


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    show_in_notebooks()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))  # pyright: ignore
    show_in_notebooks()
