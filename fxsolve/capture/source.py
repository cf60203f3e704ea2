"""Which line of the user's code is running."""

import os
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import FrameType

import torch

_LIBRARY = sysconfig.get_paths()["stdlib"] + os.sep
_TORCH = os.path.dirname(torch.__file__) + os.sep
_FXSOLVE = str(Path(__file__).resolve().parents[1]) + os.sep


# Keyed by the path: the hash of a code object is computed from all of its parts, every time.
@cache
def is_user_code(path: str) -> bool:
    if path.startswith((_TORCH, _FXSOLVE, "<frozen", "<eval")):
        return False
    # Installed packages may lie inside of the standard library's folder.
    return not path.startswith(_LIBRARY) or "site-packages" in path


# A loop comes to the same line at each step: one string serves all of its nodes.
@cache
def _place(path: str, line: int) -> str:
    return f"{path}:{line}"


def user_line(ours: int = 0) -> str:
    """The innermost "file:line" on the stack outside of Python, torch and fxsolve, or "" where there is none.

    The caller and so many around it are fxsolve's own: a frame that is looked at is made into an object.
    """
    frame: FrameType | None = sys._getframe(1 + ours)
    while frame is not None:
        path = frame.f_code.co_filename
        if is_user_code(path):
            return _place(path, frame.f_lineno)
        frame = frame.f_back
    return ""
