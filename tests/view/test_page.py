"""The page of a compiled program: one file that is whole by itself, and says what there is to say."""

import random
import re
import shutil
import subprocess
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.cli import main
from fxsolve.ir.spec import Block, System
from fxsolve.report.most import MOST_LOOPS
from fxsolve.report.text import report_text
from fxsolve.view.details import MOST_LINES
from fxsolve.view.drawing import Drawing
from fxsolve.view.page import to_page
from tests.report.samples import CHUNKS, GRU, LEFT_ALONE
from tests.view.samples import body

VOID = {"meta", "rect", "path", "br"}


class Parsed(HTMLParser):
    """The tags that are open, the ids, what is loaded from elsewhere, and the text by section."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.anchors: list[str] = []
        self.sections: dict[str, str] = {}
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        if "id" in known:
            self.ids.append(known["id"])
        if tag == "section":
            self.sections[known["id"]] = ""
        if tag == "a":
            self.anchors.append(known["href"])
        self.loaded += [known[name] for name in ("src", "xlink:href") if name in known]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "section" in self.open:
            self.sections[list(self.sections)[-1]] += data


class Recurrence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.shape[1], 4)
        for x_t in x:
            h = self.cell(x_t, h)
        return h


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of a GRU in training, and of a program that is left alone."""
    folder = tmp_path_factory.mktemp("pages")
    trained: Any = fxsolve.compile(Recurrence(), schedule="jacobi", backend="eager")
    for _ in range(2):
        trained(torch.randn(24, 2, 4)).sum().backward()
    left: Any = fxsolve.compile(torch.tanh)
    left(torch.ones(3))
    return {name: one.save(folder / f"{name}.html") for name, one in (("trained", trained), ("left", left))}


def test_every_section_has_something_to_say_and_can_be_jumped_to(pages: dict[str, Path]) -> None:
    for path in pages.values():
        page = Parsed(path.read_text())
        assert page.open == []
        assert page.loaded == []
        assert all(text.strip() for text in page.sections.values())
        assert page.anchors[: len(page.sections)] == [f"#{name}" for name in page.sections]
        assert {anchor.removeprefix("#") for anchor in page.anchors} <= set(page.ids)
        assert len(set(page.ids)) == len(page.ids)
    sections = Parsed(pages["trained"].read_text()).sections
    assert list(sections) == [
        "decisions",
        "convergence",
        "equations",
        "solves",
        "certificates",
        "compilation",
        "code",
        "text",
    ]
    assert "loop0: 24 sweeps of 24 steps" in sections["convergence"]
    assert "h = self.cell(x_t, h)" in sections["equations"]
    assert "each mark is a Jacobian, " in sections["equations"]
    assert "for x_t in x:" in sections["decisions"]
    assert "jacobi(" in sections["code"]
    assert "self.loop0" in sections["code"]
    assert list(Parsed(pages["left"].read_text()).sections)[-2:] == ["compilation", "text"]
    assert "left alone: no loop was found" in pages["left"].read_text()


def test_a_page_loads_nothing_and_runs_nothing(pages: dict[str, Path]) -> None:
    text = pages["trained"].read_text()
    assert not re.search(r"<script|<link|@import|url\(|<img", text)
    assert "prefers-color-scheme: dark" in text


def test_reports_without_a_program_have_pages_too() -> None:
    for report in (GRU, CHUNKS, LEFT_ALONE):
        page = Parsed(to_page(report, None, ""))
        assert page.open == []
        assert "equations" not in page.sections


def test_what_the_user_wrote_is_escaped_in_the_page() -> None:
    page = to_page(replace(GRU, program="<script>alert(1)</script>", notes=("a < b {{ x }}",)), None, "")
    assert "<script" not in page
    assert "a &lt; b {{ x }}" in page


def test_a_long_module_makes_no_long_page() -> None:
    code = "\n".join(f"    value_{k} = torch.add(value_{k - 1}, value_{k - 2})" for k in range(100_000))
    page = to_page(GRU, None, code)
    assert f"{100_000 - MOST_LINES:,} more lines" in page
    assert len(page) < 2_000_000


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "model.py"
    file.write_text(
        "import torch\n\n\ndef loop(x):\n    for _ in range(12):\n        x = torch.tanh(x)\n    return x\n\n\n"
        "def factory():\n    return loop, torch.ones(3)\n"
    )
    out = tmp_path / "new" / "page.html"
    assert main(["report", f"{file}:factory", "--backend=eager", "--schedule=gs", "--html", str(out)]) == 0
    assert capsys.readouterr() == ("", "")
    assert "for _ in range(12):" in out.read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium")
@pytest.mark.parametrize("name", ["trained", "left"])
def test_a_browser_shows_the_page_without_an_error_or_a_request(
    pages: dict[str, Path], name: str, tmp_path: Path
) -> None:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={tmp_path}"]
    command = ["chromium", *options, "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom", pages[name].as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    assert list(Parsed(done.stdout).sections) == list(Parsed(pages[name].read_text()).sections)


def test_a_program_of_a_thousand_loops_has_a_report_and_a_page_that_can_be_read() -> None:
    (loop,) = GRU.loops
    loops = tuple(
        replace(loop, name=f"loop{k}", chosen=replace(loop.chosen, seconds=(k % 100) * 1e-3)) for k in range(1300)
    )
    system = System(
        ("x",),
        tuple(Block(f"block{k}", body((f"x{k}",)), ("x" if k == 0 else f"x{k}",), (f"x{k + 1}",)) for k in range(2600)),
        ("x2600",),
    )
    report = replace(GRU, loops=loops)
    start = time.process_time()
    text, page = report_text(report), to_page(report, Drawing(system, "original"), "x = 1\n" * 100_000)
    assert time.process_time() - start < 10
    assert len(page) < 2_000_000
    assert "and 1,260 loops more, which take " in text
    assert text.count("loop loop") == MOST_LOOPS
    assert "loop loop99:" in text  # one of those that take longest
    assert "loop loop0:" not in text
    assert "2,600 equations are too many for a picture" in page


@pytest.mark.slow
def test_a_program_of_100_000_ops_has_its_page_within_ten_seconds(tmp_path: Path) -> None:
    ops = (torch.sin, torch.cos, torch.tanh, torch.sigmoid, torch.relu, torch.neg)
    choose = random.Random(0)
    plan = [(choose.choice(ops), choose.random()) for _ in range(50_000)]

    def straight(x: Tensor) -> Tensor:
        for op, factor in plan:
            x = op(x) * factor
        return x

    fast: Any = fxsolve.compile(straight, backend="eager", on_left_alone="ignore")
    with torch.no_grad():
        fast(torch.ones(4))
    report = fast.report()
    assert report.calls == 100_000
    start = time.process_time()
    str(report)
    path = fast.save(tmp_path / "page.html")
    assert time.process_time() - start < 10
    assert path.stat().st_size < 2_000_000
