"""One call of a graph, its arguments by the names that the schema of its op gives them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fxsolve.ops.facts import FACTS, Fact, Facts, fact_of, name_of
from fxsolve.torch_compat.operators import OpOverload, schema_of


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


def bind(
    target: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], example: Any, facts: Facts = FACTS
) -> Call:
    """The call with its defaults filled in."""
    given: dict[str, Any] = {}
    for k, argument in enumerate(schema_of(target).arguments):
        default = argument.default_value if argument.has_default_value() else None
        given[argument.name] = args[k] if k < len(args) else kwargs.get(argument.name, default)
    return Call(target, given, example, fact_of(target, facts))
