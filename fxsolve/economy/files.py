"""Files of what was learned on this machine: JSON, read by every process, and replaced as a whole.

The folder is `FXSOLVE_CACHE`, by default fxsolve in the user's folder of caches; with "off", nothing is read or
written. Nothing here raises: what cannot be read is not known, and what cannot be written is not kept.
"""

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

VARIABLE = "FXSOLVE_CACHE"
_LONGEST = 1 << 17  # bytes of a file that is read


def folder() -> Path | None:
    """Where files are kept; None where none are."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return None if given.strip().lower() in ("", "off", "0") else Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) / "fxsolve" if base else Path.home() / ".cache" / "fxsolve"


def machine() -> str:
    """What is measured here depends on this."""
    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def read_file(name: str, form: str) -> dict[str, Any] | None:
    """What the file `name` of the folder says in the format `form`; None where it is missing, foreign or broken."""
    where = folder()
    if where is None:
        return None
    try:
        with (where / name).open("rb") as file:
            text = file.read(_LONGEST + 1)
        found = json.loads(text) if len(text) <= _LONGEST else None
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and found.get("format") == form else None


def is_there(name: str) -> bool:
    """Whether there is such a file, whatever it says."""
    where = folder()
    return where is not None and (where / name).exists()


def write_file(name: str, form: str, data: Mapping[str, Any]) -> None:
    """Replace the file as a whole: of several processes, one writes last."""
    where = folder()
    if where is None:
        return
    path = where / name
    with suppress(OSError, ValueError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, made = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"format": form, **data}, file)
            os.replace(made, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(made)
            raise


def remove_file(name: str) -> None:
    """From now on, there is no such file."""
    where = folder()
    with suppress(OSError):
        if where is not None:
            (where / name).unlink()


def keep_newest(inside: str, most: int) -> None:
    """Of the files in a folder inside of that of all files, drop the oldest where there are more than `most`."""
    where = folder()
    if where is None:
        return
    with suppress(OSError):
        found = [(one.stat().st_mtime, one.path) for one in os.scandir(where / inside)]
        for _, path in sorted(found)[: max(0, len(found) - most)]:
            os.unlink(path)
