"""What can be compiled is what gives its result when it is called."""

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fxsolve.errors import InputError
from fxsolve.runtime.usable import check_inputs, check_names, check_program


class Callable:
    def __call__(self, x: Tensor) -> Tensor:
        return x

    def method(self, x: Tensor) -> Tensor:
        return x

    def items(self, x: Tensor) -> Iterator[Tensor]:
        yield x

    @classmethod
    async def later(cls, x: Tensor) -> Tensor:
        return x

    @staticmethod
    def free(x: Tensor) -> Tensor:
        return x


class Plain(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


one, module = Callable(), Plain()
USABLE = [one, one.method, one.free, Callable.free, module, module.forward, torch.tanh, Tensor.exp, len, lambda x: x]
REFUSED = [
    (one.items, "a generator, which runs when it is iterated"),
    (Callable.later, "an async def, which runs when it is awaited"),
    (Callable, r"the class Callable; compile an instance, fxsolve\.compile\(Callable\(\.\.\.\)\)"),
    (nn.Module(), r"^Module has no forward; compile the module, or function, that calls its parts"),
    (nn.ModuleList().forward, r"^ModuleList has no forward"),
    ("text", "the program is a str; it must be a module or a function"),
    (None, "the program is a NoneType"),
]


@pytest.mark.parametrize("program", USABLE)
@pytest.mark.parametrize("depth", range(3))
def test_a_part_of_what_can_be_compiled_can_be(program: Any, depth: int) -> None:
    for _ in range(depth):
        program = functools.partial(program)
    check_program(program)


@pytest.mark.parametrize(("program", "message"), REFUSED)
def test_a_part_of_what_cannot_be_compiled_cannot(program: Any, message: str) -> None:
    for wrap in (lambda one: one, functools.partial) if callable(program) else (lambda one: one,):
        with pytest.raises(InputError, match=message):
            check_program(wrap(program))


@pytest.mark.parametrize("inputs", [None, (), (1,), [torch.zeros(1)]])
def test_arguments_are_a_tuple_or_a_list(inputs: Any) -> None:
    check_inputs(inputs)


@pytest.mark.parametrize(("inputs", "kind"), [(torch.zeros(1), "Tensor"), ({"x": 1}, "dict"), (3, "int")])
def test_arguments_of_another_kind_are_refused_by_it(inputs: Any, kind: str) -> None:
    with pytest.raises(InputError, match=f"example_inputs is a {kind}; it must be a tuple of arguments"):
        check_inputs(inputs)


def test_there_is_no_option_of_a_name_that_is_left_over() -> None:
    check_names(())
    with pytest.raises(
        InputError, match=r"no option 'verfy': did you mean 'verify'\?; options are example_inputs, sche"
    ):
        check_names(("verfy", "dynamic"))
    with pytest.raises(InputError, match="no option 'zzz'; options are"):
        check_names(["zzz"])
