"""Declared sizes: what each form of torch.export means, which call fits, and the words where it does not."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch.export import Dim

from fxsolve.errors import InputError
from fxsolve.runtime.declaration import Shapes, Size, map_declared, read_shapes


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (None, None),
        ({"x": {0: "time"}}, {"x": {0: Size("time")}}),
        (({0: Dim("time")},), ({0: Size("time")},)),
        ([[Dim("time", min=2, max=9), None]], ((Size("time", 2, 9), None),)),
        (({0: 2 * Dim("n", min=3) + 1},), ({0: Size("n", 3, None, 2, 1)},)),
        (({0: Dim.AUTO},), ({0: Size("")},)),
        (({0: Dim.STATIC, 1: 4},), ({0: None, 1: None},)),
        ({"x": None, "pair": ({}, {1: "k"})}, {"x": None, "pair": ({}, {1: Size("k")})}),
    ],
    ids=repr,
)
def test_every_form_of_a_declaration_is_read(declared: Any, expected: Shapes) -> None:
    assert read_shapes(declared) == expected


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("time", "dynamic_shapes is a str; it must be a dict by argument names"),
        (3, "dynamic_shapes is a int"),
        (({0: 1.5},), "dynamic_shapes holds a float; sizes are torch.export.Dim, a name, or None"),
    ],
)
def test_what_is_no_declaration_is_refused(declared: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_shapes(declared)


@pytest.mark.parametrize("size", [Size("n"), Size("n", 2, 9), Size("n", 0, None, 3, 1)])
def test_a_length_is_found_from_its_size(size: Size) -> None:
    for length in range(size.low, (size.high or 20) + 1):
        assert size.length(size.at(length), "x") == length


@pytest.mark.parametrize(
    ("size", "value", "message"),
    [
        (Size("n", 2, 9), 1, "x is 1; n was declared from 2 to 9"),
        (Size("n", 2, 9), 10, "x is 10; n was declared from 2 to 9"),
        (Size("", 2), 1, "x is 1; it was declared from 2$"),
        (Size("n", 0, None, 2, 1), 4, r"x is 4, not 2 \* n \+ 1"),
    ],
)
def test_a_size_out_of_its_bounds_is_refused(size: Size, value: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        size.length(value, "x")


def found(shapes: Any, **arguments: Any) -> tuple[list[Any], list[tuple[str, Mapping[int | None, Size]]]]:
    seen: list[tuple[str, Mapping[int | None, Size]]] = []

    def use(leaf: Any, sizes: Mapping[int | None, Size], where: str) -> Any:
        seen.append((where, sizes))
        return "used"

    return map_declared(read_shapes(shapes), [*arguments], [*arguments.values()], use), seen


X, N = torch.zeros(3, 4), Size("n")


@pytest.mark.parametrize(
    ("shapes", "made", "seen"),
    [
        ({"x": {0: "n"}}, ["used", 5], [("x", {0: N})]),
        ({"x": {-1: "n"}}, ["used", 5], [("x", {1: N})]),
        ({"x": (None, "n")}, ["used", 5], [("x", {1: N})]),
        (({0: "n"}, "n"), ["used", "used"], [("x", {0: N}), ("k", {None: N})]),
        ({}, [X, 5], []),
    ],
    ids=repr,
)
def test_declared_leaves_are_used_and_others_are_handed_on(shapes: Any, made: list[Any], seen: list[Any]) -> None:
    values, where = found(shapes, x=X, k=5)
    assert where == seen
    assert [value if isinstance(value, str | int) else "tensor" for value in values] == [
        value if isinstance(value, str | int) else "tensor" for value in made
    ]


def test_leaves_inside_of_containers_keep_their_places() -> None:
    values, seen = found({"x": {"a": {0: "n"}}}, x={"b": 1, "a": X})
    assert values == [{"b": 1, "a": "used"}]
    assert [where for where, _ in seen] == ["x['a']"]
    values, seen = found(([{0: "n"}, None],), x=[X, X])
    assert values[0][0] == "used"
    assert values[0][1] is X
    assert [where for where, _ in seen] == ["x[0]"]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"y": {0: "n"}}, "dynamic_shapes names 'y'; the arguments of this call are x, k"),
        (({0: "n"},), "dynamic_shapes has 1 entries, and this call 2 arguments"),
        ({"x": {2: "n"}}, "x has 2 dimensions, none of them is 2"),
        ({"x": ("n",)}, "x has 2 dimensions, and 1 are declared"),
        ({"x": "n"}, "x is a tensor; declare a dict of its dimensions"),
        ({"k": {0: "n"}}, "k is a int, which has no sizes"),
    ],
)
def test_a_declaration_that_does_not_fit_the_call_is_refused(shapes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        found(shapes, x=X, k=5)


def test_a_declaration_of_another_container_is_refused() -> None:
    with pytest.raises(InputError, match="x holds 2 values, and 1 are declared"):
        found(([{0: "n"}],), x=[X, X])


def test_what_declares_nothing_is_read_without_sympy() -> None:
    code = "import sys, torch, fxsolve; fxsolve.compile(torch.nn.ReLU()); assert 'sympy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
