"""What `compile` cannot mean is refused at once, with what to write instead."""

import functools
import importlib.metadata
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fxsolve
from fxsolve.errors import InputError, ScheduleError


class Net(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(12):
            x = torch.tanh(x) + 0.1
        return x

    async def later(self, x: Tensor) -> Tensor:
        return self(x)


class Later(nn.Module):
    async def forward(self, x: Tensor) -> Tensor:
        return x


class Items:
    def __call__(self, x: Tensor) -> Iterator[Tensor]:
        yield x


async def later(x: Tensor) -> Tensor:
    return x


async def stream(x: Tensor) -> AsyncIterator[Tensor]:
    yield x


def items(x: Tensor) -> Iterator[Tensor]:
    yield x


REFUSED: dict[str, tuple[Any, str]] = {
    "a class": (Net, r"the class Net; compile an instance, fxsolve\.compile\(Net\(\.\.\.\)\)"),
    "a part of a class": (functools.partial(Net), "the class Net; compile an instance"),
    "a builtin class": (dict, "the class dict"),
    "async def": (later, "async def, which runs when it is awaited; compile the plain function"),
    "a part of async def": (functools.partial(later), "async def"),
    "an async method": (Net().later, "async def"),
    "an async module": (Later(), "async def"),
    "a part of an async module": (functools.partial(Later()), "async def"),
    "an async generator": (stream, "async generator; compile the plain function that computes one item"),
    "a generator": (items, "a generator, which runs when it is iterated; return a list"),
    "a generator object": (Items(), "a generator"),
    "a list of modules": (
        nn.ModuleList([nn.Linear(2, 2)]),
        "ModuleList has no forward; compile the module, or function",
    ),
    "an empty module": (nn.Module(), "Module has no forward"),
    "no program": (3, "the program is a int; it must be a module or a function"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_program_is_refused_when_it_is_compiled(name: str) -> None:
    program, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        fxsolve.compile(program)


def test_a_decorated_class_is_refused_where_it_is_written() -> None:
    with pytest.raises(InputError, match="the class Cell; compile an instance"):

        @fxsolve.compile
        class Cell(nn.Module):
            pass


class CalledOtherwise(nn.Module):
    """Has no forward, and needs none."""

    def __call__(self, x: Tensor) -> Tensor:
        return Net()(x)


class OfTheInstance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.forward = Net().forward


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["called otherwise", "of the instance", "a part", "torch.compile"])
def test_unusual_programs_are_compiled(kind: str) -> None:
    made: dict[str, Callable[[], Any]] = {
        "called otherwise": CalledOtherwise,
        "of the instance": OfTheInstance,
        "a part": lambda: functools.partial(Net()),
        "torch.compile": lambda: torch.compile(Net(), backend="aot_eager"),
    }
    fast = fxsolve.compile(made[kind](), backend="eager", schedule="gs")
    for _ in range(2):
        x = torch.randn(2, 3)
        assert torch.equal(fast(x), Net()(x))
    assert str(fast.schedule) != "original", fast.report().reason


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_modules_are_refused_alone_and_named_in_the_report_as_parts() -> None:
    scripted = torch.jit.trace(nn.Linear(3, 3), (torch.randn(2, 3),))
    with pytest.raises(InputError, match="ScriptModule, whose attributes are not seen; compile the module behind it"):
        fxsolve.compile(scripted)
    whole = nn.Sequential(Net(), scripted)
    fast, x = fxsolve.compile(whole, backend="eager"), torch.randn(2, 3)
    assert torch.equal(fast(x), whole(x))
    assert (
        fast.report().reason == "its part 1 is a ScriptModule, whose attributes are not seen; use the module behind it"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "fast"}, r"mode is 'fast'; choose one of default, reduce-overhead, max-autotune"),
        ({"dynamic": True}, r"no option 'dynamic': dynamic_shapes=\.\.\. declares"),
        ({"fullgraph": True}, r"no option 'fullgraph': .*report\(\) says why; options are example_inputs, schedule"),
        ({"options": {}}, r"torch\._inductor\.config"),
        ({"disable": True}, "the program itself is what runs"),
        ({"backends": "eager"}, "no option 'backends': did you mean 'backend'"),
        ({"shedule": "gs"}, "did you mean 'schedule'"),
        ({"max_entry": 2}, "did you mean 'max_entries'"),
        ({"qqq": 2}, "no option 'qqq'; options are example_inputs, schedule, backend, tolerance, verify, max_entries"),
    ],
)
def test_an_option_of_another_name_is_refused_with_the_right_one(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fxsolve.compile(Net(), **options)


@pytest.mark.parametrize(
    ("text", "meant"), [("jacobbi", "jacobi"), ("newtn(loop0)", "newton"), ("gs(lop0)", "loop0"), ("pickard", "picard")]
)
def test_a_slip_in_a_schedule_names_the_nearest_word(text: str, meant: str) -> None:
    fast = fxsolve.compile(Net(), schedule=text, backend="eager")
    with pytest.raises(ScheduleError, match=f"; did you mean '{meant}'"):
        fast(torch.randn(2, 3))


def test_the_version_is_that_of_the_package() -> None:
    assert fxsolve.__version__[0].isdigit()
    try:
        assert importlib.metadata.version("fxsolve") == fxsolve.__version__
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("fxsolve is not installed here, but imported from its folder")
