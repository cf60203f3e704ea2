"""The marks of which pictures are made, as SVG."""

import re
from collections.abc import Sequence
from html import escape

from fxsolve.view.layout import clip

INK, SOFT, EDGE, PAPER = "#1f2328", "#57606a", "#6e7781", "#ffffff"


def page(parts: Sequence[str], width: float, tall: float) -> str:
    """The whole file, of this size in pixels."""
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{tall:.0f}" '
            f'viewBox="0 0 {width:.0f} {tall:.0f}" font-size="12" '
            'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace">',
            f'<rect width="100%" height="100%" fill="{PAPER}"/>',
            *parts,
            "</svg>\n",
        )
    )


def side_by_side(left: str, right: str) -> str:
    """Two whole files as one, with the same upper edge."""
    sizes = [tuple(map(float, re.findall(r'(?:width|height)="([\d.]+)"', one)[:2])) for one in (left, right)]
    (wide, tall), (wide_too, tall_too) = sizes
    second = right.replace("<svg ", f'<svg x="{wide:.0f}" ', 1)
    return page([left, second], wide + wide_too, max(tall, tall_too))


def text(x: float, y: float, words: str, colour: str = INK, more: str = "") -> str:
    """Words at (x, y), which is the left end of their base line unless `more` says otherwise."""
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}"{more} xml:space="preserve">{escape(words)}</text>'


def name(x: float, y: float, words: str, colour: str = INK, more: str = "") -> str:
    """A name, clipped where it is too long and then with the whole of it as a tooltip."""
    if clip(words) == words:
        return text(x, y, words, colour, more)
    return f"<g><title>{escape(words)}</title>{text(x, y, clip(words), colour, more)}</g>"


def link(equation: str, mark: str) -> str:
    """A mark that leads to what a page says of an equation; in a file of its own it leads nowhere."""
    return f'<a href="#equation-{escape(equation)}">{mark}</a>'


def path(points: str, colour: str) -> str:
    """A line along `points`, in the language of SVG."""
    return f'<path d="{points}" fill="none" stroke="{colour}" stroke-width="1.4" stroke-linejoin="round"/>'


def tip(x: float, y: float, direction: int, colour: str) -> str:
    """An arrow head with its point at (x, y), to the right (1) or to the left (-1)."""
    back = x - 8 * direction
    return f'<path d="M{x:.1f} {y:.1f}L{back:.1f} {y - 4:.1f}L{back:.1f} {y + 4:.1f}Z" fill="{colour}"/>'
