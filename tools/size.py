"""Prints how long the files and functions of fxsolve are, which of them are too long, and what no test imports.

Below that stands what is said more than once: tables of ops, names of classes, and imports that go round in a circle.
"""

import ast
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import torch

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
    # What lies in before_torch is imported from there, by its own name.
    names = {module: ".".join(module.parts).removeprefix("fxsolve.before_torch.") for module in modules}
    left = [module for module in modules if names[module] not in named]
    lines = [f"{len(left)} of {len(modules)} modules that no test imports"]
    for package in sorted({module.parts[1] for module in left}):
        inside = [".".join(module.parts[2:]) or package for module in left if module.parts[1] == package]
        lines.append(f"  {package}: {len(inside)}: {', '.join(inside)}")
    return lines


def dotted(node: ast.AST) -> list[str]:
    """The names of `a.b.c`, none where the node is no such expression."""
    if isinstance(node, ast.Name):
        return [node.id]
    before = dotted(node.value) if isinstance(node, ast.Attribute) else []
    return [*before, node.attr] if before and isinstance(node, ast.Attribute) else []


def op_at(node: ast.AST) -> str | None:
    """The op that `aten.NAME` or `torch.ops.aten.NAME` stands for."""
    names = dotted(node)
    names = names[2:] if names[:3] == ["torch", "ops", "aten"] else names
    return names[1] if len(names) == 2 and names[0] == "aten" else None


def entries_of(node: ast.AST) -> list[ast.expr]:
    """What a display lists: the keys of a dict, the elements of a set, list or tuple."""
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    return node.elts if isinstance(node, ast.Set | ast.List | ast.Tuple) else []


def named_ops(value: ast.expr) -> set[str]:
    """The ops in the value of an assignment: each `aten.NAME`, and the words of a display that lists ops alone."""
    found = {op for node in ast.walk(value) if (op := op_at(node)) is not None}
    if isinstance(value, ast.Subscript):  # a type, such as Literal["full", "diagonal"]
        return found
    for node in ast.walk(value):
        words = [entry.value for entry in entries_of(node) if isinstance(entry, ast.Constant)]
        if words and all(isinstance(word, str) and hasattr(torch.ops.aten, word) for word in words):
            found.update(map(str, words))
    return found


def op_tables(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Every value of a module, bound to a name at its top level, that names two ops or more."""
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
            if len(ops := named_ops(statement.value)) > 1:
                yield f"{path.relative_to(ROOT)} {ast.unparse(target)}", ops


def said_of_ops(paths: list[Path]) -> list[str]:
    """How many tables of ops there are besides that of facts, and how many ops stand in three of them or more."""
    tables = [table for path in paths for table in op_tables(path)]
    often = Counter(op for _, ops in tables for op in ops)
    return [
        f"{len(tables)} op tables, {sum(often.values())} entries",
        *(f"  {name}: {len(ops)}" for name, ops in tables),
        f"{sum(count > 2 for count in often.values())} of {len(often)} ops in three tables or more",
    ]


def classes_twice(paths: list[Path]) -> list[str]:
    """The names that more than one class of the package has."""
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]
    counts = Counter(node.name for node in nodes if isinstance(node, ast.ClassDef))
    twice = sorted(name for name, count in counts.items() if count > 1)
    return [f"{len(twice)} class names defined twice", *([f"  {', '.join(twice)}"] if twice else [])]


def circles(paths: list[Path]) -> list[str]:
    """The sets of packages, and of modules, that import one another."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    pairs = [(own, name) for own, path in modules.items() for name in imported(path) if name in modules]
    folders = [(own.rpartition(".")[0], name.rpartition(".")[0]) for own, name in pairs]
    # What lies in a package itself is its top: it uses the packages inside, and is not meant here.
    beside = [(own, name) for own, name in folders if not f"{own}.".startswith(name) and not f"{name}.".startswith(own)]
    graphs = (nx.DiGraph(pairs), nx.DiGraph(beside))
    found = [sorted(ring) for graph in graphs for ring in nx.strongly_connected_components(graph) if len(ring) > 1]
    return [f"{len(found)} import circles", *(f"  {', '.join(ring)}" for ring in found)]


def main() -> int:
    paths = sorted((ROOT / "fxsolve").rglob("*.py"))
    files = [(str(path.relative_to(ROOT)), len(path.read_text().splitlines())) for path in paths]
    lines = describe("files", files, FILE_LIMIT)
    lines += describe("functions", [size for path in paths for size in functions(path)], FUNCTION_LIMIT)
    said_twice = [*said_of_ops(paths), *classes_twice(paths), *circles(paths)]
    print("\n".join([*lines, *without_tests(paths), *said_twice]))
    return 1 if any(line.startswith("  over") for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
