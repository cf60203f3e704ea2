"""The import ranks hold, and the checker sees what breaks them."""

from pathlib import Path

import pytest

import layers

TOP = layers.RANKS["__init__"]


def test_every_import_goes_downwards() -> None:
    assert layers.faults(layers.ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("ir/a.py", "from fxsolve.capture.program import Program", "rank 5) imports fxsolve.capture (rank 6)"),
        ("solvers/a.py", "import fxsolve.structure.levels", "rank 3) imports fxsolve.structure (rank 3)"),
        (
            "torch_compat/a.py",
            "import fxsolve.solvers.loop",
            "torch_compat (rank 1) imports fxsolve.solvers (rank 3)",
        ),
        ("solvers/a.py", "from torch import fx", "imports torch.fx, which solvers must run without"),
        ("solvers/a.py", "def f():\n    import torch.fx.graph", "imports torch.fx.graph"),
        ("solvers/a.py", "import networkx", "imports networkx, which solvers does not depend on"),
        ("structure/a.py", "import torch", "imports torch, which structure does not depend on"),
        ("report/a.py", "import pandas as pd", "imports pandas, which report does not depend on"),
        ("capture/a.py", "import fxsolve", f"imports fxsolve.__init__ (rank {TOP})"),
        ("report/a.py", "from . import text", "relatively"),
        ("codegen/a.py", "from fxsolve import compile", f"imports fxsolve.compile (rank {TOP})"),
        ("extras/a.py", "", "extras has no rank"),
        ("loops/extras/a.py", "", "extras has no rank"),
        (
            "loops/generalize/a.py",
            "from fxsolve.loops.rolling.roll import roll",
            "generalize (rank 0) imports fxsolve.loops.rolling (rank 1)",
        ),
        (
            "loops/growing/a.py",
            "from fxsolve.loops.padding import window",
            "growing (rank 2) imports fxsolve.loops.padding (rank 3)",
        ),
        (
            "loops/nesting/a.py",
            "from fxsolve.loops.find import find_loops",
            f"nesting (rank 4) imports fxsolve.loops.find (rank {layers.TOP})",
        ),
    ],
)
def test_a_forbidden_import_is_named(tmp_path: Path, file: str, line: str, message: str) -> None:
    path = tmp_path / "fxsolve" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    (found,) = layers.faults(tmp_path)
    assert message in found
    assert found.startswith(f"fxsolve/{file}:")


def test_packages_inside_a_package_are_imported_downwards(tmp_path: Path) -> None:
    inside = tmp_path / "fxsolve" / "loops"
    (inside / "nesting").mkdir(parents=True)
    (inside / "nesting" / "a.py").write_text(
        "from fxsolve.loops.nesting.b import b\nfrom fxsolve.loops.rolling.roll import roll\n"
    )
    (inside / "a.py").write_text(
        "from fxsolve.loops.b import b\nfrom fxsolve.loops.nesting.a import a\nimport fxsolve.capture.tape\n"
    )
    assert layers.faults(tmp_path) == []


def test_downward_and_own_imports_are_allowed(tmp_path: Path) -> None:
    path = tmp_path / "fxsolve" / "solvers" / "a.py"
    path.parent.mkdir(parents=True)
    path.write_text(
        "import math\nimport torch\nfrom fxsolve.errors import FxSolveError\nfrom fxsolve.solvers.stop import Stop\n"
    )
    assert layers.faults(tmp_path) == []
