"""The domain of affine values: which are affine in those that are marked so, over the reals and up to rounding.

A value is free of what is marked, affine in it, or neither. An op keeps values affine that lie in one of the groups of
arguments in which it is affine; results that are no real or complex numbers are steps of what they are made of.
"""

from enum import IntEnum
from typing import Any

from fxsolve.ops.access import ConstantFill, Product, Unwritten
from fxsolve.ops.call import Call
from fxsolve.ops.interpret import Domain, for_each_result
from fxsolve.ops.origins import origins
from fxsolve.torch_compat.trees import pytree


class Degree(IntEnum):
    """How a value depends on what is marked."""

    FREE = 0
    AFFINE = 1
    OTHER = 2


class Affine(Domain):
    """Values are `Degree`s."""

    def is_abstract(self, value: Any) -> bool:
        return isinstance(value, Degree)

    def known(self, compute: Any) -> Degree:
        """Of constants nothing but this is asked."""
        return Degree.FREE

    def transfer(self, call: Call) -> Any:
        """The highest degree is kept where the op is affine in all arguments that are not free."""
        degrees = {name: _highest(argument) for name, argument in call.arguments.items()}
        if isinstance(call.fact.access, ConstantFill | Unwritten):
            degrees[next(iter(degrees))] = Degree.FREE  # only its form is read
        read = {name for name, degree in degrees.items() if degree > Degree.FREE}
        highest = max(degrees.values(), default=Degree.FREE)
        if highest == Degree.AFFINE and not any(read <= set(group.split()) for group in _groups(call)):
            highest = Degree.OTHER
        return for_each_result(call.example, lambda one: _of_type(one, highest))

    def mix(self, arguments: Any, example: Any) -> Any:
        """Nothing holds of what is made of values that are not free."""
        found = Degree.OTHER if _highest(arguments) > Degree.FREE else Degree.FREE
        return for_each_result(example, lambda one: found)


def _highest(argument: Any) -> Degree:
    degrees = [leaf for leaf in pytree.tree_leaves(argument) if isinstance(leaf, Degree)]
    return max(degrees, default=Degree.FREE)


def _of_type(example: Any, degree: Degree) -> Degree:
    """The degree of a result; conversions to integers and booleans are steps."""
    is_continuous = example is not None and (example.dtype.is_floating_point or example.dtype.is_complex)
    return degree if is_continuous or degree == Degree.FREE else Degree.OTHER


def _groups(call: Call) -> tuple[str, ...]:
    """The groups of arguments in each of which an op is affine."""
    if call.fact.affine is not None:
        return call.fact.affine
    first = next(iter(call.arguments), "")
    if names := origins(call):
        return (" ".join(names),)
    if isinstance(call.fact.access, Product):
        return tuple(f"{factor} {call.fact.access.added}" for factor in (call.fact.access.left, call.fact.access.right))
    # A vector-Jacobian product is linear in the cotangent.
    return (first,) if "_backward" in call.name and first.startswith("grad") else ()
