"""The report as one HTML page that needs no other file."""

import html
import io

from rich import box
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME

from fxsolve.report.data import ReportData
from fxsolve.report.text import render

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>fxsolve report: TITLE</title>
<style>
body {{ margin: 2rem auto; max-width: 78rem; padding: 0 1rem; background: #ffffff; color: #1f2328; }}
pre {{ font: 14px/1.35 "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-x: auto; }}
{stylesheet}
</style>
</head>
<body>
<pre>{code}</pre>
</body>
</html>
"""


PART = '<pre style="font-family: Menlo, Consolas, monospace; line-height: 1.35">{code}</pre>'


def to_html(report: ReportData, width: int = 110) -> str:
    """The text report, `width` columns wide, as a self-contained page."""
    title = html.escape(report.program).replace("{", "{{").replace("}", "}}")
    page = PAGE.replace("TITLE", title)
    return _printed(report, width).export_html(code_format=page, theme=DEFAULT_TERMINAL_THEME)


def to_html_part(report: ReportData, width: int = 100) -> str:
    """The text report as a part of a page, such as a notebook."""
    return _printed(report, width).export_html(code_format=PART, theme=DEFAULT_TERMINAL_THEME, inline_styles=True)


def _printed(report: ReportData, width: int) -> Console:
    console = Console(
        file=io.StringIO(), record=True, width=width, force_terminal=True, highlight=False, markup=False, emoji=False
    )
    console.print(render(report, box.SIMPLE_HEAD), crop=False)
    return console
