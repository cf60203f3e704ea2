"""The notebook of the examples, executed: reports, systems and pictures show themselves in its cells."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each cell of code shows, by its last line: data by kind."""
    nbformat = pytest.importorskip("nbformat", reason="the extra `test` installs it")
    nbclient = pytest.importorskip("nbclient", reason="the extra `test` installs it")
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "sitecustomize.py").write_text(f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{folder}")
        notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
        client = nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
        client.execute()  # raises what a cell raises
    assert (folder / "out" / "recurrence.html").read_text().startswith("<!doctype html>")
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {cell.source.splitlines()[-1]: _shown(cell.outputs) for cell in cells}


def _shown(outputs: Any) -> dict[str, Any]:
    assert not [one for one in outputs if one.output_type in ("stream", "error")]
    return {kind: data for one in outputs for kind, data in one.get("data", {}).items()}


def test_a_report_shows_itself_as_a_page_and_a_schedule_as_text(outputs: dict[str, dict[str, Any]]) -> None:
    report = outputs["fast.report()"]
    assert "loop0" in report["text/html"]
    assert "emitted" in report["text/html"]
    assert "jacobi(loop0[0:64])" in outputs["str(fast.schedule)"]["text/plain"]


def test_pictures_and_systems_are_drawn(outputs: dict[str, dict[str, Any]]) -> None:
    for cell in ("fast.draw()", "fxsolve.partition(program).system"):
        assert "loop0 x 64" in outputs[cell]["image/svg+xml"]
    assert "schedule: gs(" in outputs["fast.draw()"]["image/svg+xml"]


def test_the_overview_is_a_table(outputs: dict[str, dict[str, Any]]) -> None:
    assert "<td>Recurrence</td>" in outputs["fxsolve.entries()"]["text/html"]


def test_the_notebook_is_kept_without_outputs() -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra `test` installs it")
    notebook = nbformat.read(ROOT / "examples" / "notebook.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.outputs or cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
