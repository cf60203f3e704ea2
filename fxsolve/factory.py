"""Load what the user points at: FILE.py:factory, a function that returns (model, example inputs)."""

import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from fxsolve.errors import FxSolveError, InputError
from fxsolve.torch_compat.trees import pytree

NOT_THE_USERS = (Path(__file__).resolve().parent, Path(sysconfig.get_paths()["stdlib"]))


@dataclass(frozen=True)
class Subject:
    """A model and the inputs to run it on."""

    model: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    @property
    def name(self) -> str:
        return getattr(self.model, "__name__", type(self.model).__name__)

    def inputs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Copies of (args, kwargs), so that a program may write into them."""
        return pytree.tree_map_only(Tensor, Tensor.clone, (self.args, dict(self.kwargs)))

    def state(self) -> list[Tensor]:
        """The tensors of the model, into which it may write."""
        return [*self.model.parameters(), *self.model.buffers()] if isinstance(self.model, nn.Module) else []


def load(target: str) -> Subject:
    """The model and inputs of `FILE.py:factory`; `InputError` says what is wrong with either."""
    path, name = _split(target)
    factory = _find(_execute(path), name, path)
    with_arguments = [p.name for p in inspect.signature(factory).parameters.values() if _required(p)]
    if with_arguments:
        raise InputError(f"{target}: a factory is called without arguments, but it needs {', '.join(with_arguments)}")
    try:
        result = factory()
    except Exception as error:
        raise InputError(f"{target}: the factory raised {blame(error)}") from error
    return _subject(result, target)


def blame(error: BaseException) -> str:
    """What was raised, and the last line of the user's own code that led to it."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg}\n  {error.filename}:{error.lineno}: {(error.text or '').strip()}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _installed(frame.filename)]
    where = "".join(f"\n  {frame.filename}:{frame.lineno}: {frame.line}" for frame in own[-1:])
    return f"{type(error).__name__}: {error}{where}"


@contextmanager
def users_errors(subject: Subject) -> Iterator[None]:
    """Tell an error of the user's model, which the model raises alone too, from an error of fxsolve."""
    try:
        yield
    except (FxSolveError, BrokenPipeError):
        raise
    except Exception:
        args, kwargs = subject.inputs()
        try:
            subject.model(*args, **kwargs)
        except Exception as error:
            raise InputError(f"the model {subject.name} raised {blame(error)}") from error
        raise


def _installed(filename: str) -> bool:
    path = Path(filename)
    return filename.startswith("<") or "site-packages" in path.parts or any(map(path.is_relative_to, NOT_THE_USERS))


def _split(target: str) -> tuple[Path, str]:
    file, colon, name = target.rpartition(":")
    if not colon or not file or not name.isidentifier():
        raise InputError(f"{target!r} is not FILE.py:factory, for example examples/gru_loop.py:factory")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{file}: no such file")
    if path.suffix != ".py":
        raise InputError(f"{file}: a factory is read from a .py file")
    return path.resolve(), name


def _execute(path: Path) -> ModuleType:
    # a name of its own: a file called random.py must not replace the module of that name
    name = f"fxsolve_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up by name
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"{path.name}: importing the file raised {blame(error)}") from error
    return module


def _find(module: ModuleType, name: str, path: Path) -> Callable[..., Any]:
    factory = getattr(module, name, None)
    if callable(factory):
        return factory
    found = f"{name} is not a function" if hasattr(module, name) else f"it has no {name}"
    own = [key for key, value in vars(module).items() if _is_own(value, module)]
    offer = f"its functions are {', '.join(own)}" if own else "it defines no function"
    raise InputError(f"{path.name}: {found}; {offer}")


def _is_own(value: object, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _required(parameter: inspect.Parameter) -> bool:
    star = parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return parameter.default is inspect.Parameter.empty and not star


def _subject(result: Any, target: str) -> Subject:
    wanted = "(model, example inputs); inputs are a tensor, a tuple, or (args, kwargs)"
    if not isinstance(result, tuple) or len(result) != 2:
        raise InputError(f"{target}: the factory returned {_kind(result)}, not {wanted}")
    model, example = result
    if not callable(model):
        raise InputError(f"{target}: the model is {_kind(model)}, which cannot be called; a factory returns {wanted}")
    if isinstance(example, Tensor):
        return Subject(model, (example,), {})
    if not isinstance(example, tuple):
        raise InputError(f"{target}: the example inputs are {_kind(example)}; a factory returns {wanted}")
    if len(example) == 2 and isinstance(example[0], tuple) and isinstance(example[1], dict):
        return Subject(model, example[0], example[1])
    return Subject(model, example, {})


def _kind(value: object) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"{type(value).__name__}"
