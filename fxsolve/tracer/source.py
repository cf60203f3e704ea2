"""Which line of the user's code is running."""

import os
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import CodeType, FrameType

import torch

_LIBRARY = sysconfig.get_paths()["stdlib"] + os.sep
_TORCH = os.path.dirname(torch.__file__) + os.sep
_FXSOLVE = str(Path(__file__).resolve().parents[1]) + os.sep


@cache
def _is_user_code(code: CodeType) -> bool:
    path = code.co_filename
    if path.startswith((_TORCH, _FXSOLVE, "<frozen", "<eval")):
        return False
    # Installed packages may lie inside of the standard library's folder.
    return not path.startswith(_LIBRARY) or "site-packages" in path


@cache
def _line(code: CodeType, number: int) -> str:
    return f"{code.co_filename}:{number}"


def user_line() -> str:
    """The innermost "file:line" on the stack outside of Python, torch and fxsolve, or "" where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if _is_user_code(frame.f_code):
            return _line(frame.f_code, frame.f_lineno)
        frame = frame.f_back
    return ""
