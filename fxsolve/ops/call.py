"""One call of a graph, its arguments by the names that the schema of its op gives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fxsolve.ops.facts import FACTS, Fact, Facts, fact_of, name_of
from fxsolve.torch_compat.operators import OpOverload, once_each, schema_of


@dataclass(frozen=True)
class Call:
    """`fact` is the row of its op; `example` has the form of the result, or is None where that is not known."""

    target: OpOverload
    arguments: Mapping[str, Any]
    example: Any
    fact: Fact

    @property
    def name(self) -> str:
        """The name of the op, the same for all of its overloads."""
        return name_of(self.target)

    def __getitem__(self, name: str) -> Any:
        return self.arguments.get(name)

    @property
    def first(self) -> Any:
        """The first argument."""
        return next(iter(self.arguments.values()), None)

    @property
    def leaves(self) -> list[Any]:
        """The arguments, those in lists one by one."""
        found: list[Any] = []
        for argument in self.arguments.values():
            found += argument if isinstance(argument, (list, tuple)) else (argument,)
        return found

    def run(self, replaced: Mapping[str, Any]) -> Any:
        """The result with some arguments replaced, by name."""
        given = {**self.arguments, **replaced}
        positional = [given[one.name] for one in schema_of(self.target).arguments if not one.kwarg_only]
        named = {one.name: given[one.name] for one in schema_of(self.target).arguments if one.kwarg_only}
        return self.target(*positional, **named)


def order_of(call: Call, rank: int) -> tuple[int, ...]:
    """Of the `rank` dimensions of the first argument, that which each of a `Permuted` result is."""
    # The dimensions of this tensor are told apart by their sizes.
    first = torch.empty(tuple(range(rank)), device="meta")
    return tuple(call.run({next(iter(call.arguments)): first}).shape)


@once_each
def _defaults_of(target: OpOverload) -> Mapping[str, Any]:
    """The arguments by name, in order, with their defaults; None for those that have none."""
    arguments = schema_of(target).arguments
    return {one.name: one.default_value if one.has_default_value() else None for one in arguments}


def bind(
    target: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], example: Any, facts: Facts = FACTS
) -> Call:
    """The call with its defaults filled in."""
    given = dict(_defaults_of(target))
    given.update(zip(given, args, strict=False))
    given.update((name, argument) for name, argument in kwargs.items() if name in given)
    return Call(target, given, example, fact_of(target, facts))
