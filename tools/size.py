"""Prints how long the files and functions of fxsolve are, which of them are too long, and what no test imports."""

import ast
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE_LIMIT = 250
FUNCTION_LIMIT = 60


def functions(path: Path) -> list[tuple[str, int]]:
    """Name and length in lines of every function in the file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    found = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(f"{path.relative_to(ROOT)}:{f.lineno} {f.name}", (f.end_lineno or f.lineno) - f.lineno + 1) for f in found]


def describe(kind: str, sizes: list[tuple[str, int]], limit: int) -> list[str]:
    """A line of statistics, then one line for each that is over the limit."""
    lengths = sorted(length for _, length in sizes)
    ninth = lengths[int(0.9 * (len(lengths) - 1))]
    lines = [
        f"{len(lengths)} {kind}, {sum(lengths)} lines: median {statistics.median(lengths):.0f}, "
        f"nine in ten up to {ninth}, longest {lengths[-1]}"
    ]
    lines += [f"  over {limit}: {name} ({length})" for name, length in sizes if length > limit]
    return lines


def imported(path: Path) -> set[str]:
    """The full names of everything that the file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return found


def without_tests(paths: list[Path]) -> list[str]:
    """A line for each package: how many of its modules no test imports, and which."""
    named = set().union(*(imported(path) for path in (ROOT / "tests").rglob("*.py")))
    modules = [path.relative_to(ROOT).with_suffix("") for path in paths if not path.stem.startswith("__")]
    left = [module for module in modules if ".".join(module.parts) not in named]
    lines = [f"{len(left)} of {len(modules)} modules that no test imports"]
    for package in sorted({module.parts[1] for module in left}):
        inside = [".".join(module.parts[2:]) or package for module in left if module.parts[1] == package]
        lines.append(f"  {package}: {len(inside)}: {', '.join(inside)}")
    return lines


def main() -> int:
    paths = sorted((ROOT / "fxsolve").rglob("*.py"))
    files = [(str(path.relative_to(ROOT)), len(path.read_text().splitlines())) for path in paths]
    lines = describe("files", files, FILE_LIMIT)
    lines += describe("functions", [size for path in paths for size in functions(path)], FUNCTION_LIMIT)
    print("\n".join([*lines, *without_tests(paths)]))
    return 1 if any(line.startswith("  over") for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
