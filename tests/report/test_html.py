"""The HTML page says what the text says, and stands alone."""

from dataclasses import replace
from html.parser import HTMLParser

from fxsolve.report.html import to_html
from fxsolve.report.text import report_text
from tests.report.samples import CHUNKS, GRU


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "pre" in self.open:
            self.text += data


def read(page: str) -> Page:
    parser = Page()
    parser.feed(page)
    parser.close()
    return parser


def test_the_page_says_what_the_text_says() -> None:
    for report in (GRU, CHUNKS):
        lines = [line.rstrip() for line in read(to_html(report)).text.splitlines()]
        assert "\n".join(lines).strip() == report_text(report, width=110).strip()


def test_the_page_is_well_formed_and_needs_no_other_file() -> None:
    page = read(to_html(GRU))
    assert page.open == []
    assert page.links == []


def test_what_the_user_wrote_is_escaped() -> None:
    page = to_html(replace(GRU, program="{<script>alert(1)</script>}", notes=("a < b {x}",)))
    assert "<script>" not in page
    assert "<title>fxsolve report: {&lt;script&gt;" in page
    assert "a < b {x}" in read(page).text
