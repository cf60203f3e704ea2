"""Systems and programs in notebooks, whose packages lie below that of the pictures."""

import sys
from typing import Any

from fxsolve.capture.program import Program
from fxsolve.ir.spec import System
from fxsolve.view.svg import draw_system


def show_in_notebooks() -> None:
    """Have a notebook that fxsolve is imported in draw systems, and print programs as code."""
    shell: Any = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None:
        return
    formatters = shell.display_formatter.formatters
    formatters["image/svg+xml"].for_type(System, draw_system)
    formatters["text/plain"].for_type(Program, lambda program, printer, _: printer.text(program.module.code))
