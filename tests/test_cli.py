"""The command line, through its real entry point."""

import itertools
import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from fxsolve import stages
from fxsolve.bench import forms
from fxsolve.cli import main
from fxsolve.errors import InputError
from fxsolve.report.from_json import from_json
from fxsolve.view import drawing
from fxsolve.view.detail import DETAILS
from fxsolve_command import arguments

ROOT = Path(__file__).resolve().parents[1]
FILE = """
import torch

STEPS = 24


class Cell(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cell = torch.nn.Linear(8, 8)

    def forward(self, x, h):
        hs = []
        for t in range(x.shape[0]):
            h = torch.tanh(self.cell(h) + x[t])
            hs.append(h)
        return torch.stack(hs), h


def factory():
    return Cell(), (torch.randn(STEPS, 2, 8), torch.zeros(2, 8))


def with_kwargs():
    return Cell(), ((torch.randn(STEPS, 2, 8),), {"h": torch.zeros(2, 8)})


def single():
    return torch.cumsum, ((torch.ones(3),), {"dim": 0})


def cumulative(x):
    return x.cumsum(0)


def one_tensor():
    return cumulative, torch.ones(3)


def sampling(x):
    for _ in range(8):
        x = torch.tanh(x + torch.randn(4))
    return x


def random():
    return sampling, (torch.zeros(4),)


def writing(x):
    for t in range(1, 8):
        x[t] = torch.tanh(x[t - 1])
    return x


def in_place():
    return writing, (torch.ones(8, 4),)


class Remembering(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("h", torch.zeros(4))

    def forward(self, x):
        for _ in range(8):
            self.h.mul_(0.5).add_(x)
        return self.h


def stateful():
    return Remembering(), (torch.ones(4),)


def broken_model(x):
    raise ValueError("the model has a bad day")


def raising_model():
    return broken_model, (torch.ones(3),)


def raising_factory():
    raise KeyError("no such weights")


def needs(size, depth=2):
    return Cell(), ()


def returns_a_model():
    return Cell()


def model_alone():
    return Cumulative()


class Cumulative(torch.nn.Module):
    def forward(self, x, mask):
        for t in range(1, x.shape[0]):
            x = torch.where(mask, torch.tanh(x), x)
        return x


MODEL = Cumulative()


def returns_no_function():
    return 3, (torch.ones(3),)


def returns_a_list():
    return cumulative, [torch.ones(3)]


drifts = 0


def drifting(x):
    global drifts
    drifts += 1
    return x + drifts


def changing():
    return drifting, (torch.zeros(3),)
"""


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the folders that the command line puts on sys.path for the user's file."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "model.py"
    path.write_text(FILE)
    return str(path)


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Run a command that must be refused, and give its one message."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("fxsolve: ")
    assert "Traceback" not in err
    return err


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    status = main(argv)
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def python(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fxsolve", *argv]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)


def test_python_m_fxsolve_prints_a_plain_report(file: str) -> None:
    done = python("report", f"{file}:factory", "--backend=eager")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("fxsolve report: Cell\n")
    assert done.stdout.isascii()
    assert f"{24} steps" in done.stdout


def test_python_m_fxsolve_refuses_with_one_message_and_status_2(file: str) -> None:
    done = python("report", f"{file}:nothing")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("fxsolve: model.py: it has no nothing; its functions are Cell, factory, ")
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_error(file: str) -> None:
    command = f"{sys.executable} -m fxsolve report {file}:factory --emit=program | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False, timeout=120)
    assert done.stderr == ""


def test_the_report_as_json_reads_back(capsys: pytest.CaptureFixture[str], file: str) -> None:
    report = from_json(printed(capsys, "report", f"{file}:factory", "--json", "--backend=eager"))
    assert report.program == "Cell"
    assert [loop.length for loop in report.loops] == [24]


def test_the_report_as_html_is_written(capsys: pytest.CaptureFixture[str], file: str, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert printed(capsys, "report", f"{file}:factory", "--backend=eager", "--html", str(out)) == ""
    assert "fxsolve report: Cell" in out.read_text(encoding="utf-8")


def test_the_schedule_asked_for_is_the_schedule_reported(capsys: pytest.CaptureFixture[str], file: str) -> None:
    options = ("report", f"{file}:factory", "--backend=eager", "--json", "--schedule")
    assert "jacobi" not in json.loads(printed(capsys, *options, "gs"))["schedule"]
    assert "jacobi" in json.loads(printed(capsys, *options, "jacobi"))["schedule"]


@pytest.mark.parametrize(
    ("stage", "part"),
    [
        ("program", "torch.ops.aten"),
        ("system", "24"),
        ("pattern", "24"),
        ("schedule", "gs("),
        ("code", "def forward"),
        ("report", "fxsolve report: Cell"),
    ],
)
@pytest.mark.parametrize("command", ["report", "run"])
def test_every_stage_has_an_exit(
    capsys: pytest.CaptureFixture[str], file: str, command: str, stage: str, part: str
) -> None:
    text = printed(capsys, command, f"{file}:factory", f"--emit={stage}", "--schedule=gs", "--backend=eager")
    assert part in text


def test_the_graph_is_an_svg_with_the_loop_drawn_once(
    capsys: pytest.CaptureFixture[str], file: str, tmp_path: Path
) -> None:
    out = tmp_path / "graph.svg"
    printed(capsys, "graph", f"{file}:factory", "-o", str(out))
    texts = [text.text or "" for text in ET.parse(out).iter("{http://www.w3.org/2000/svg}text")]
    assert sum(text.endswith(" x 24") for text in texts) == 1


def test_the_graph_is_graphviz_source_where_asked(
    capsys: pytest.CaptureFixture[str], file: str, tmp_path: Path
) -> None:
    out = tmp_path / "graph.dot"
    printed(capsys, "graph", f"{file}:factory", "-o", str(out), "--schedule=jacobi")
    assert out.read_text().startswith("digraph")
    assert "schedule: gs(" in out.read_text()


@pytest.mark.parametrize(
    "factory", ["factory", "with_kwargs", "single", "one_tensor", "random", "in_place", "stateful"]
)
def test_a_run_is_checked_and_timed(capsys: pytest.CaptureFixture[str], file: str, factory: str) -> None:
    text = printed(capsys, "run", f"{file}:{factory}", "--schedule=gs", "--backend=eager", "--check", "--repeat=2")
    assert "original" in text
    assert "ratio" in text
    assert "medians of 2 calls each" in text


def test_a_benchmark_has_every_form_in_turn(
    capsys: pytest.CaptureFixture[str], file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(program: object) -> object:
        return lambda *_: sum(k for k in itertools.count())

    monkeypatch.setattr(forms, "by_torch", slow)
    options = ("--backend=eager", "--limit=0.01", "--repeat=2", "--plot", str(tmp_path / "new" / "bench.svg"))
    text = printed(capsys, "bench", f"{file}:factory", *options)
    assert "medians of 2 calls of each form in turn, cpu, 1 thread" in text
    assert "  jacobi: gs(" in text
    assert "torch.compile: it had not finished after 10.0 ms" in text
    assert "<svg" in (tmp_path / "new" / "bench.svg").read_text()
    assert json.loads(printed(capsys, "bench", f"{file}:factory", *options[:3], "--json"))["program"] == "Cell"


def test_a_difference_above_the_tolerance_is_status_1(capsys: pytest.CaptureFixture[str], file: str) -> None:
    options = ("run", f"{file}:changing", "--backend=eager", "--repeat=2")
    assert main([*options, "--check"]) == 1
    out, err = capsys.readouterr()
    assert "difference" in out
    assert "fxsolve: the results differ by" in err
    assert "Traceback" not in err
    assert main(options) == 0
    assert main([*options, "--check", "--tolerance=100"]) == 0


def test_gradients_are_off_unless_asked_for(capsys: pytest.CaptureFixture[str], file: str) -> None:
    options = ("report", f"{file}:factory", "--schedule=gs", "--backend=eager")
    assert "gradients:" not in printed(capsys, *options)
    lines = printed(capsys, *options, "--grad").splitlines()
    assert any(line.startswith("gradients: ") for line in lines)
    assert any("backward of" in line for line in lines)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("model.py", "'model.py' is not FILE.py:factory"),
        ("model.py:", "'model.py:' is not FILE.py:factory"),
        (":factory", "':factory' is not FILE.py:factory"),
        ("nowhere/model.py:factory", "nowhere/model.py: no such file"),
        ("data.json:factory", "data.json: a factory is read from a .py file, or from a module by its name"),
        ("no_such_module.inner:factory", "no_such_module.inner: there is no module of this name"),
        ("needs_more.py:factory", "fxsolve[examples]"),
        ("model.py:nothing", "model.py: it has no nothing; its functions are Cell, factory, with_kwargs"),
        ("model.py:STEPS", "model.py: STEPS is not a function; its functions are Cell, factory"),
        ("empty.py:factory", "empty.py: it has no factory; it defines no function"),
        ("model.py:needs", "a factory is called without arguments, but it needs size"),
        ("model.py:returns_a_model", "the factory returned Cell, not (model, example inputs)"),
        ("model.py:returns_no_function", "the model is int, which cannot be called"),
        ("model.py:returns_a_list", "the example inputs are list; a factory returns (model, example inputs)"),
        ("model.py:raising_factory", "the factory raised KeyError: 'no such weights'"),
        ("model.py:raising_model", "the model broken_model raised ValueError: the model has a bad day"),
        ("raises.py:factory", "raises.py: importing the file raised ZeroDivisionError: division by zero"),
        ("syntax.py:factory", "syntax.py: importing the file raised SyntaxError: "),
    ],
)
def test_what_cannot_be_used_is_refused_with_one_message(
    capsys: pytest.CaptureFixture[str], file: str, monkeypatch: pytest.MonkeyPatch, target: str, message: str
) -> None:
    folder = Path(file).parent
    monkeypatch.chdir(folder)
    (folder / "data.json").write_text("{}")
    (folder / "empty.py").write_text("")
    monkeypatch.setitem(sys.modules, "zuko", None)
    (folder / "needs_more.py").write_text("import zuko\n")
    (folder / "raises.py").write_text("x = 1\ny = x / 0\n")
    (folder / "syntax.py").write_text("def factory(:\n")
    assert message in refused(capsys, "report", target)


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("raising_factory", 'raise KeyError("no such weights")'),
        ("raising_model", 'raise ValueError("the model has a bad day")'),
    ],
)
def test_an_error_in_the_users_code_is_shown_with_its_line(
    capsys: pytest.CaptureFixture[str], file: str, target: str, line: str
) -> None:
    number = FILE.splitlines().index(f"    {line}") + 1
    message = refused(capsys, "graph", f"{file}:{target}", "-o", str(Path(file).with_suffix(".svg")))
    assert f"{file}:{number}: {line}" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["report", "FILE", "--emit=everything"], "argument --emit: invalid choice: 'everything'"),
        (["report", "FILE", "--backend=tpu"], "argument --backend: invalid choice: 'tpu'"),
        (["report", "FILE", "--json", "--html=x.html"], "not allowed with argument --json"),
        (["report", "FILE", "--html=pyproject.toml/x.html"], "pyproject.toml is no folder"),
        (["graph", "FILE"], "one of the arguments -o --format is required"),
        (["graph", "FILE", "-o", "graph.gif"], "graph.gif ends in none of .svg, .html, "),
        (["graph", "FILE", "-o", "tests"], "tests is a folder"),
        (["report", "FILE", "--input", "f33[2]"], "'f33[2]' is no input such as f32[16,128,8]; dtypes are f64, f32"),
        (["help", "limts"], "there is no topic 'limts'; did you mean 'limits'? topics are exactness, "),
        (["bench", "FILE", "--limit=0"], "0 is not a positive number of seconds"),
        (["bench", "FILE", "--plot=bench.gif"], "bench.gif ends in none of .png, .svg, .pdf"),
        (["run", "FILE", "--repeat=0"], "'0' is not a number of calls, 1 or more"),
        (["solve", "FILE"], "invalid choice: 'solve'"),
        ([], "the following arguments are required: report | graph | run | bench | doctor | completion | help"),
        (["run", "FILE", "--schedule=gs(cell"], "gs(cell"),
        (["run", "FILE", "--schedule=newton(nothing)"], "newton(nothing)"),
        (["graph", "FILE", "-o", "graph.svg", "--schedule=jacobi("], "jacobi("),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    capsys: pytest.CaptureFixture[str], file: str, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(ROOT)
    argv = [f"{file}:factory" if option == "FILE" else option for option in options]
    assert message in refused(capsys, *argv)


def test_a_file_may_import_its_neighbour_and_be_named_like_a_library(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "neighbour_of_random.py").write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "random.py").write_text(
        "import torch\nfrom neighbour_of_random import double\n\n\ndef factory():\n    return double, torch.ones(3)\n"
    )
    assert "fxsolve report: double" in printed(capsys, "report", f"{tmp_path / 'random.py'}:factory", "--backend=eager")


@pytest.mark.parametrize("target", ["model_alone", "MODEL"])
def test_inputs_are_made_for_a_model_that_comes_alone(
    capsys: pytest.CaptureFixture[str], file: str, target: str
) -> None:
    inputs = ("--input", "f32[12,4]", "--input", "bool[12,4]")
    text = printed(capsys, "report", f"{file}:{target}", "--backend=eager", "--schedule=gs", *inputs)
    assert "inputs:   float32[12, 4], bool[12, 4]" in text


def test_a_model_without_inputs_is_refused_with_the_option(capsys: pytest.CaptureFixture[str], file: str) -> None:
    assert "--input f32[16,8] gives them" in refused(capsys, "report", f"{file}:model_alone")


def test_a_factory_is_found_in_a_module_by_its_name(
    capsys: pytest.CaptureFixture[str], file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(file).parent / "a_package_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text(FILE)
    monkeypatch.chdir(package.parent)
    text = printed(capsys, "report", "a_package_of_mine.models:factory", "--backend=eager", "--schedule=gs")
    assert text.startswith("fxsolve report: Cell")


@pytest.mark.parametrize("schedule", ["auto", "jacobi"])
def test_a_picture_shows_what_runs_and_makes_its_folder(
    capsys: pytest.CaptureFixture[str], file: str, tmp_path: Path, schedule: str
) -> None:
    out = tmp_path / "new" / "folder" / "graph.svg"
    printed(capsys, "graph", f"{file}:factory", "-o", str(out), f"--schedule={schedule}", "--backend=eager")
    assert "schedule: " in out.read_text()


@pytest.mark.parametrize("detail", ["loops", "equations", "ops"])
def test_a_picture_tells_as_much_as_is_asked_for(
    capsys: pytest.CaptureFixture[str], file: str, tmp_path: Path, detail: str
) -> None:
    out = tmp_path / "graph.svg"
    options = ("-o", str(out), "--schedule=jacobi", f"--detail={detail}")
    assert printed(capsys, "graph", f"{file}:factory", *options) == f"{out}\n"
    shown = out.read_text()
    assert ">jacobi<" in shown
    assert ("tanh(add): float32[2, 8]" in shown) == (detail == "ops")
    assert ("cell_bias" in shown) == (detail != "loops")


def test_before_and_after_stand_side_by_side(
    capsys: pytest.CaptureFixture[str], file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "graph.svg"
    printed(capsys, "graph", f"{file}:factory", "-o", str(out), "--schedule=jacobi", "--before")
    left, right = ET.parse(out).getroot().findall("{http://www.w3.org/2000/svg}svg")
    assert float(right.get("x", "0")) == float(left.get("width", "0"))
    words = [[text.text for text in part.iter("{http://www.w3.org/2000/svg}text")] for part in (left, right)]
    assert "in order" in words[0]
    assert "jacobi" not in words[0]
    assert "jacobi" in words[1]
    monkeypatch.chdir(tmp_path)
    text = refused(capsys, "graph", f"{file}:factory", "--format=dot", "--schedule=jacobi", "--before")
    assert "Cell.dot: two pictures side by side are written as .svg and .html" in text
    assert printed(capsys, "graph", f"{file}:factory", "--format=txt", "--schedule=jacobi") == "Cell.txt\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_shell_completes_every_command(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    script = printed(capsys, "completion", shell)
    for word in ("report", "graph", "bench", "completion", "--schedule", "--before", "inductor"):
        assert word in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=30)


def test_a_traceback_is_shown_where_asked_for(file: str) -> None:
    with pytest.raises(InputError, match="it has no nothing"):
        main(["report", f"{file}:nothing", "--traceback"])


def test_the_doctor_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "doctor").splitlines()
    assert [line.split()[0] for line in lines][:3] == ["fxsolve", "python", "torch"]
    assert f"torch       {torch.__version__}; the tests are run on" in lines[2]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("fxsolve ")


def test_choices_known_before_the_compiler_is_imported_are_the_compilers() -> None:
    assert arguments.BACKENDS == stages.BACKENDS
    assert list(arguments.PICTURES) == list(drawing.WRITERS)
    assert arguments.DETAILS == DETAILS


def test_what_was_typed_is_refused_before_torch_is_imported() -> None:
    program = (
        "import sys, time; from fxsolve_command import main; status = main(['run', 'a.py:b', '--repeat=none']); "
        "print(status, 'torch' in sys.modules, time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    status, has_torch, seconds = done.stdout.split()
    assert (status, has_torch) == ("2", "False")
    assert float(seconds) < 0.3
