"""Load what the user points at: a function that returns (model, example inputs), or a model alone."""

import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from fxsolve.errors import FxSolveError, InputError
from fxsolve.inputs import noise
from fxsolve.torch_compat.trees import pytree

# What the extra `examples` of this package installs, by the names of its modules.
EXTRAS = ("sklearn", "zuko", "nflows", "matplotlib")
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


def load(target: str, inputs: Sequence[str] | None = None) -> Subject:
    """The model and inputs of `FILE.py:factory` or `package.module:factory`.

    With `inputs`, such as f32[16,128,8], what the target is, or returns, is a model, called with noise of these shapes.
    Raises `InputError`, which says what is wrong with either.
    """
    file, name = _split(target)
    module = _execute(Path(file).resolve()) if file.endswith(".py") else _import(file)
    found = _find(module, name, Path(file))
    made = found if inputs and isinstance(found, nn.Module) else _call(found, target)
    if inputs:
        made = (_model(made), tuple(map(noise, inputs)))
    return _subject(made, target)


def _call(factory: Callable[[], Any], target: str) -> Any:
    with_arguments = [p.name for p in inspect.signature(factory).parameters.values() if _required(p)]
    if with_arguments:
        raise InputError(f"{target}: a factory is called without arguments, but it needs {', '.join(with_arguments)}")
    try:
        return factory()
    except Exception as error:
        raise InputError(f"{target}: the factory raised {blame(error)}") from error


def _model(made: Any) -> Any:
    """The model of a factory that returns inputs too, which are not used."""
    return made[0] if isinstance(made, tuple) and made else made


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


def _split(target: str) -> tuple[str, str]:
    """The file, or the name of a module, and the name in it."""
    file, colon, name = target.rpartition(":")
    if not colon or not file or not name.isidentifier():
        raise InputError(
            f"{target!r} is not FILE.py:factory, for example examples/gru_loop.py:factory, nor package.module:factory"
        )
    path = Path(file)
    if path.suffix != ".py" and (path.is_file() or not all(part.isidentifier() for part in file.split("."))):
        raise InputError(f"{file}: a factory is read from a .py file, or from a module by its name")
    if path.suffix == ".py" and not path.is_file():
        raise InputError(f"{file}: no such file")
    return file, name


def _import(name: str) -> ModuleType:
    """A module by its name, from the current folder too, as for `python -m`."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise InputError(_missing(name, error)) from error
        raise InputError(f"{name}: there is no module of this name, and no file {name}.py is named") from error
    except Exception as error:
        raise InputError(f"{name}: importing the module raised {blame(error)}") from error


def _missing(file: str, error: ModuleNotFoundError) -> str:
    """What to install for a module that a file needs."""
    is_extra = (error.name or "").partition(".")[0] in EXTRAS
    extra = "\n  the examples need more than the package: pip install 'fxsolve[examples]'" if is_extra else ""
    return f"{file}: importing it raised {blame(error)}{extra}"


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
    except ModuleNotFoundError as error:
        raise InputError(_missing(path.name, error)) from error
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
    if isinstance(result, nn.Module):
        raise InputError(f"{target}: the factory returned {_kind(result)}, not {wanted}; --input f32[16,8] gives them")
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
