"""The README and the documents of `fxsolve help` hold what they say: their programs and commands are run."""

import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from fxsolve.cli import main
from fxsolve_command import topics
from tests.documents import DOCUMENTS, README, ROOT, commands, snippets

EXTRAS = ("sklearn", "matplotlib", "zuko", "nflows", "pytest", "hypothesis", "accelerate", "transformers", "lightning")


def run_alone(path: Path, folder: Path) -> str:
    """What the programs of a document print, in an empty folder and with nothing but what the package needs."""
    program = f"import sys\nsys.modules.update(dict.fromkeys({EXTRAS!r}))\n"
    script = folder / f"{path.stem}.py"
    script.write_text(snippets(path))
    program += f"exec(compile(open({str(script)!r}).read(), {str(script)!r}, 'exec'))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", [one for one in DOCUMENTS if snippets(one).strip()], ids=lambda path: path.stem)
def test_the_programs_of_a_document_run(path: Path, tmp_path: Path) -> None:
    assert run_alone(path, tmp_path)


@pytest.mark.slow
def test_the_programs_of_the_readme_run_and_print_what_it_says(tmp_path: Path) -> None:
    printed = run_alone(README, tmp_path)
    assert printed.startswith("True\nfxsolve report: Sampler\nemitted\n")
    text = README.read_text()
    shown = text[text.index("```text\n") : text.index("compilation: capture")]
    for line in shown.splitlines()[1:]:
        said = re.sub(r"\s+<-.*|, first\.py:\d+.*", "", line).rstrip()
        # How many sweeps are allowed depends on what they cost here.
        if not re.search(r" m?u?s\b|\.\.\.|\dx$|steps exact|jacobi\(|sweeps:", said):
            assert said in printed


@pytest.mark.slow
@pytest.mark.parametrize("command", commands(README))
def test_a_command_of_the_readme_works_in_a_fresh_checkout(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    for extra in EXTRAS:
        if extra not in sys.modules:
            monkeypatch.setitem(sys.modules, extra, None)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0, capsys.readouterr().err
    if " -o " in command:
        assert "schedule: " in (tmp_path / command.split(" -o ")[1]).read_text()


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 165


def test_documents_are_wrapped() -> None:
    for path in (README, *DOCUMENTS):
        text = path.read_text()
        prose = [line for line in text.splitlines() if not line.startswith("|")]
        assert max(map(len, prose)) <= 122, path.name


def test_every_path_that_a_document_names_is_there() -> None:
    for path in (README, *DOCUMENTS):
        for name in re.findall(r"(?<![\w/.-])(?:tools|examples|fxsolve|tests)/[\w/.]+\w", path.read_text()):
            assert (ROOT / name).exists(), f"{path.name}: {name}"


def test_every_picture_that_is_shown_can_be_drawn() -> None:
    pages = (README, ROOT / "examples/pictures/README.md")
    shown = [page.parent / name for page in pages for name in re.findall(r"!\[.*\]\((.*)\)", page.read_text())]
    assert len(shown) == 5
    for picture in shown:
        assert ET.fromstring(picture.read_text()).tag.endswith("svg"), picture.name


def test_every_topic_is_printed_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help"]) == 0
    listed = capsys.readouterr().out
    assert set(topics.documents()) == {path.stem for path in DOCUMENTS}
    for path in DOCUMENTS:
        assert f"**{path.stem}**" in listed
        assert main(["help", path.stem]) == 0
        assert capsys.readouterr().out == path.read_text()


def test_the_readme_names_every_topic() -> None:
    text = README.read_text()
    assert all(f"`{path.stem}`" in text or f"help {path.stem}`" in text for path in DOCUMENTS)


def test_a_topic_is_laid_out_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    topics.show("schedules")
    assert "```" not in capsys.readouterr().out
