"""Private names of torch stand in fxsolve/torch_compat alone, and one that is gone is met by an error that names it."""

import ast
import importlib
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import nn

from fxsolve.errors import FxSolveError, TorchVersionError
from fxsolve.torch_compat import checks, compilers, modules, overrides, processes

ROOT = Path(__file__).resolve().parents[1]
COMPAT = ROOT / "fxsolve" / "torch_compat"
FILES = sorted(COMPAT.glob("*.py"))
_PRIVATE_PATH = re.compile(r"torch(\.\w+)*\._\w+(\.\w+)*\.?")
OF_NAMED_TUPLES = {"_replace", "_fields", "_make", "_asdict"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"


def private_imports(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """Line, module and name of what is private in an import from torch."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "", alias.name) for alias in node.names]
        else:
            continue
        for module, name in names:
            parts = [*module.split("."), name]
            if parts[0] == "torch" and any(map(is_private, parts)):
                yield node.lineno, module, name


def own_names(tree: ast.AST) -> set[str]:
    """What a file defines itself: functions, methods, variables, and attributes of its own classes."""
    own = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            own.add(node.attr)
    return own


def private_attributes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of private attributes of other objects than the file's own; ATen names its operators so."""
    own = own_names(tree) | OF_NAMED_TUPLES
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        owner = ast.unparse(node.value)
        is_operator = owner.split(".")[0] == "aten" or owner.startswith("torch.ops.")
        if owner not in ("self", "cls", "sys") and not is_operator and node.attr not in own:
            yield node.lineno, f"{owner}.{node.attr}"


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@cache
def known_names() -> set[str]:
    """The private names that fxsolve relies on, and those of what a module keeps about itself."""
    trees = [ast.parse(file.read_text()) for file in FILES]
    imported = {name for tree in trees for _, _, name in private_imports(tree)}
    looked_up = {text for tree in trees for _, text in strings(tree)}
    return {name for name in imported | looked_up | {*vars(nn.Module())} if is_private(name)}


def faults(text: str) -> list[str]:
    tree, known = ast.parse(text), known_names()
    found = [(line, f"{module}.{name}") for line, module, name in private_imports(tree)]
    found += private_attributes(tree)
    found += [(line, repr(value)) for line, value in strings(tree) if value in known]
    found += [(line, repr(value)) for line, value in strings(tree) if _PRIVATE_PATH.fullmatch(value)]
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    found += [(function.lineno, function.name) for function in functions if function.name in known]
    return [f"{line}: {what}" for line, what in sorted(found)]


def test_no_other_file_uses_a_private_name_of_torch() -> None:
    others = [path for path in sorted((ROOT / "fxsolve").rglob("*.py")) if path.parent != COMPAT]
    assert len(others) > 200
    found = [f"{path.relative_to(ROOT)}:{fault}" for path in others for fault in faults(path.read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("from torch._ops import OpOverload", "torch._ops.OpOverload"),
        ("def f():\n    import torch._dynamo", "torch._dynamo."),
        ("from torch.autograd import _get_sequence_nr", "torch.autograd._get_sequence_nr"),
        ("torch._C._current_graph_task_id()", "torch._C"),
        ("version = tensor._version", "tensor._version"),
        ("f(one.tensor)._schema.name", "f(one.tensor)._schema"),
        ("getattr(storage, '_cdata')", "'_cdata'"),
        ("vars(module)['_parameters']", "'_parameters'"),
        ("logging.getLogger('torch._subclasses.fake_tensor')", "'torch._subclasses.fake_tensor'"),
        ("class Mode:\n    def _should_skip_dynamo(cls): ...", "_should_skip_dynamo"),
        ("class A:\n    def f(self, other):\n        self._x = other._y", "other._y"),
    ],
)
def test_each_way_to_use_one_is_seen(line: str, fault: str) -> None:
    assert fault in [one.partition(": ")[2] for one in faults(line)]


@pytest.mark.parametrize(
    "line",
    [
        "aten._softmax.default",
        "torch.ops.aten._to_copy.default",
        "spec._replace(dtype=None)",
        "sys._getframe(1)",
        "class A:\n    def f(self, other):\n        self._x = 0\n        return other._x",
        "from torch import Tensor",
        "from fxsolve.torch_compat.tensors import is_view",
    ],
)
def test_other_names_with_an_underscore_are_none(line: str) -> None:
    assert faults(line) == []


def eager_imports(file: Path) -> list[tuple[str, str, str]]:
    """What a file imports when it is imported itself: not in its functions."""
    body = [node for node in ast.parse(file.read_text()).body if not isinstance(node, ast.FunctionDef)]
    return [(file.name, module, name) for node in body for _, module, name in private_imports(node)]


EAGER = [row for file in FILES for row in eager_imports(file)]


@pytest.mark.parametrize(("file", "module", "name"), EAGER)
def test_an_import_of_a_name_that_is_gone_names_it(
    file: str, module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(module, name, monkeypatch)
    with pytest.raises(TorchVersionError, match=rf"{re.escape(module)}\.{name}\b"):
        runpy.run_path(str(COMPAT / file))


def hide(module: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = importlib.import_module(module)
    if f"{module}.{name}" in sys.modules:  # an import would find it there, or in a package make it anew
        monkeypatch.setitem(sys.modules, f"{module}.{name}", None)
        if not hasattr(owner, "__path__"):
            monkeypatch.delitem(sys.modules, f"{module}.{name}")
    monkeypatch.delattr(owner, name)


def test_names_are_known_from_several_files() -> None:
    assert len({file for file, _, _ in EAGER}) >= 6
    assert len(EAGER) > 20


@pytest.mark.parametrize(
    ("call", "module", "name"),
    [
        (compilers.stance, "torch._dynamo.eval_frame", "_stance"),
        (compilers.inductor_settings, "torch._inductor", "config"),
        (
            lambda: compilers.compile_by_inductor(nn.Identity(), [torch.empty(1, device="meta")]),
            "torch._inductor",
            "standalone_compile",
        ),
        (
            lambda: compilers.compile_by_inductor(nn.Identity(), []),
            "torch._inductor.decomposition",
            "select_decomp_table",
        ),
        (lambda: [*processes.remote_calls()], "torch._C._distributed_rpc", "PyRRef"),
        (lambda: [*processes.remote_calls()], "torch.distributed.rpc.api", "_is_current_rpc_agent_set"),
    ],
)
def test_what_is_imported_at_its_first_use_is_checked_there(
    call: Callable[[], Any], module: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(module, name, monkeypatch)
    with pytest.raises(TorchVersionError, match=rf"{re.escape(module)}\.{name}\b"):
        call()


def test_the_error_names_the_version_that_is_there_and_those_that_are_tested() -> None:
    with pytest.raises(TorchVersionError) as caught:
        checks.getter(torch.Tensor, "_gone")
    assert isinstance(caught.value, FxSolveError)
    assert isinstance(caught.value, ImportError)
    assert str(caught.value) == (
        f"fxsolve relies on torch.Tensor._gone, which torch {torch.__version__} does not have, or not as fxsolve knows "
        "it. fxsolve is tested with torch 2.11 and 2.13: install one of these, or a newer fxsolve."
    )


def test_importing_fxsolve_checks_every_name_but_those_of_the_compilers_and_loads_nothing_that_few_need() -> None:
    code = "import sys, fxsolve; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = set(done.stdout.split())
    assert {
        f"fxsolve.torch_compat.{file.stem}" for file in FILES if file.stem not in ("__init__", "compilers")
    } <= loaded
    assert loaded.isdisjoint({"sympy", "triton", "networkx", "torch._dynamo", "torch._inductor"})


def test_fxsolve_cannot_be_imported_where_a_name_is_gone() -> None:
    code = "import torch; del torch._C._current_graph_task_id; import fxsolve"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("fxsolve.errors.TorchVersionError: fxsolve relies on torch._C._current_graph_task_id, ")


# A rename of these breaks nothing that an import would see.


def renamed(function: Any, old: str, new: str, scope: dict[str, Any] | None = None) -> Any:
    """The function as it would be in a torch that calls something by another name, or has it in another module."""
    code = function.__code__.replace(co_names=tuple(name.replace(old, new) for name in function.__code__.co_names))
    made = FunctionType(code, scope or function.__globals__, function.__name__, function.__defaults__)
    made.__module__, made.__qualname__ = function.__module__, function.__qualname__
    return made


@pytest.mark.parametrize("name", ["grad", "backward"])
def test_a_backward_pass_that_asks_under_another_name_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = renamed(getattr(torch.autograd, name), "has_torch_function", "is_overridden")
    monkeypatch.setattr(torch.autograd, name, changed)
    with pytest.raises(TorchVersionError, match=rf"has_torch_function in the code of torch\.autograd\.{name}, which"):
        runpy.run_path(str(COMPAT / "overrides.py"))


@pytest.mark.parametrize("layer", [nn.MultiheadAttention, nn.TransformerEncoder, nn.TransformerEncoderLayer])
@pytest.mark.parametrize("name", ["overrides", "has_torch_function"])
def test_a_layer_that_asks_another_function_is_refused(
    layer: type[nn.Module], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = renamed(layer.forward, name, "other")
    monkeypatch.setattr(layer, "forward", changed)
    with pytest.raises(
        TorchVersionError, match=rf"torch\.overrides\.has_torch_function in the code of .*{layer.__name__}\.forward,"
    ):
        runpy.run_path(str(COMPAT / "overrides.py"))


def test_a_layer_that_has_moved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = renamed(nn.MultiheadAttention.forward, "", "", {"__name__": "torch.nn.attention.layers"})
    monkeypatch.setattr(nn.MultiheadAttention, "forward", moved)
    with pytest.raises(TorchVersionError, match=r"torch\.nn\.modules\.\* for .*MultiheadAttention\.forward, which"):
        runpy.run_path(str(COMPAT / "overrides.py"))


@pytest.mark.parametrize("name", [*modules.TENSORS, modules.CHILDREN, *modules.HOOKS])
def test_an_attribute_of_modules_under_another_name_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    make = nn.Module.__init__

    def make_others(self: nn.Module) -> None:
        make(self)
        vars(self)["_other"] = vars(self).pop(name)

    monkeypatch.setattr(nn.Module, "__init__", make_others)
    with pytest.raises(TorchVersionError, match=rf"{name} in vars\(torch\.nn\.Module\(\)\), which torch"):
        runpy.run_path(str(COMPAT / "modules.py"))


def test_the_names_of_questions_are_read_from_code() -> None:
    assert overrides.questions_of(torch.autograd.grad.__code__) == ("has_torch_function",)
    assert overrides.questions_of(torch.Tensor.backward.__code__) == ("has_torch_function_unary",)
