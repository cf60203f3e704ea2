"""Checks who imports whom in fxsolve: only downwards by rank, and only the packages that it depends on."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RANKS = {
    "errors": 0,
    "version": 0,
    "torch_compat": 1,
    "economy": 2,
    "structure": 3,
    "solvers": 3,
    "ops": 4,
    "ir": 5,
    "state": 5,
    "capture": 6,
    "lower": 7,
    "rewrite": 8,
    "loops": 9,
    "plan": 10,
    "codegen": 11,
    "report": 12,
    "view": 13,
    "inputs": 13,
    "doctor": 14,
    "factory": 14,
    "stages": 14,
    "runtime": 15,
    "compiler": 16,
    "bench": 17,
    "torch_backend": 17,
    "__init__": 18,
    "cli": 19,
    "__main__": 20,
    "before_torch": 20,
}
# Of the packages inside a package, and of its modules that these use; what else lies in it has the rank TOP.
TOP = 99
RANKS_INSIDE = {
    "lower": {"incremental": TOP, "alike": TOP},
    "before_torch": {"fxsolve_command": TOP},
    "loops": {"generalize": 0, "rolling": 1, "growing": 2, "stopping": 2, "padding": 3, "nesting": 4},
    "rewrite": {"recorded": 0, "sums": 1, "blocks": 1},
    "capture": {
        **dict.fromkeys(("bits", "communication", "pause", "plain", "program", "raw_calls"), 0),
        **dict.fromkeys(("source", "stream", "tape", "together"), 0),
        "effects": 1,
        "numbers": 1,
        "backward": 2,
        "record": 3,
        "functional": 4,
    },
    "ops": {"domains": TOP},
    "plan": {"methods": TOP},
}
EXTERNAL = {"torch", "numpy", "networkx", "graphviz", "rich", "jinja2", "markupsafe", "pygments"}
# Graph mathematics knows no tensors; what emitted modules call runs without the compiler's own dependencies; Triton is
# optional, and imported only where there is a GPU.
EXTERNAL_OF = {
    "structure": {"numpy", "networkx"},
    "solvers": {"torch", "triton"},
    "bench": {*EXTERNAL, "matplotlib"},
    "cli": {*EXTERNAL, "fxsolve_command"},
    "before_torch": {"rich", "shtab", "fxsolve_command"},
}
FORBIDDEN_OF = {"solvers": ("torch.fx",)}


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported, wherever it stands in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def fault(package: str, inner: str, name: str) -> str | None:
    """Why code in `package`, in the package `inner` inside it, may not import `name`; None if it may."""
    if name.startswith("."):
        return f"imports {name} relatively: write the full name"
    if any(name == banned or name.startswith(f"{banned}.") for banned in FORBIDDEN_OF.get(package, ())):
        return f"imports {name}, which {package} must run without"
    top, _, rest = name.partition(".")
    target, _, rest = rest.partition(".")
    if top == "fxsolve" and target == package:
        return inner_fault(package, inner, rest.partition(".")[0])
    if top == "fxsolve":
        return internal_fault(package, target or "__init__")
    if top in sys.stdlib_module_names or top in EXTERNAL_OF.get(package, EXTERNAL):
        return None
    return f"imports {top}, which {package} does not depend on"


def internal_fault(package: str, target: str) -> str | None:
    """Why `package` may not import `fxsolve.<target>`, or None if it may."""
    rank = RANKS.get(target, RANKS["__init__"])
    if rank < RANKS[package]:
        return None
    return f"(rank {RANKS[package]}) imports fxsolve.{target} (rank {rank}): imports go downwards only"


def inner_fault(package: str, inner: str, target: str) -> str | None:
    """Why `inner` may not import `target`, both inside `package`, or None if it may."""
    ranks = RANKS_INSIDE.get(package, {})
    own, rank = ranks.get(inner, TOP), ranks.get(target, TOP)
    if inner == target or rank < own or own == TOP:
        return None
    return f"(rank {own}) imports fxsolve.{package}.{target} (rank {rank}): imports go downwards only"


def faults(root: Path) -> list[str]:
    """One line for every import under `root`/fxsolve that breaks a rule."""
    found = []
    for path in sorted((root / "fxsolve").rglob("*.py")):
        relative = path.relative_to(root)
        package = relative.parts[1].removesuffix(".py")
        inner = relative.parts[2] if len(relative.parts) > 3 else ""
        unknown = package not in RANKS or (inner and inner not in RANKS_INSIDE.get(package, {}))
        if unknown:
            found.append(f"{relative}: {inner or package} has no rank in tools/layers.py")
            continue
        for line, name in imports(ast.parse(path.read_text())):
            if reason := fault(package, inner, name):
                found.append(f"{relative}:{line}: {inner or package} {reason}")
    return found


def main() -> int:
    found = faults(ROOT)
    print("\n".join(found) or "layers: every import goes downwards")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
