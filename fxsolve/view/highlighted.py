"""Python code in colours, light and dark, and no more of it than a page can hold."""

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

_LIGHT, _DARK = (HtmlFormatter(style=style, cssclass="highlight") for style in ("default", "github-dark"))


def highlighted(code: str) -> Markup:
    return Markup(highlight(code, PythonLexer(), _LIGHT))


def start_of(code: str, most: int) -> str:
    """The first lines, and how many there are more."""
    lines = code.splitlines()
    return code if len(lines) <= most else "\n".join([*lines[:most], f"# {len(lines) - most:,} more lines"])


def code_style() -> Markup:
    """The style sheet of what `highlighted` gives."""
    light, dark = _LIGHT.get_style_defs(".highlight"), _DARK.get_style_defs(".highlight")
    return Markup(f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}")
