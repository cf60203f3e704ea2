"""What stands in Markdown documents for a reader to run."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCUMENTS = sorted((ROOT / "fxsolve" / "docs").glob("*.md"))
_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def snippets(path: Path) -> str:
    """The Python of a document, one block behind the other, each on the lines where it stands."""
    text = path.read_text(encoding="utf-8")
    lines: list[str] = []
    for found in _PYTHON.finditer(text):
        first = text.count("\n", 0, found.start(1))
        lines += [""] * (first - len(lines)) + found[1].splitlines()
    return "\n".join(lines) + "\n"


def commands(path: Path) -> list[str]:
    """What is typed after `fxsolve` in the indented lines of a document."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("    fxsolve ")]
