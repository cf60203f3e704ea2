"""Which tensors a call writes into."""

from typing import Any

from torch import Tensor

from fxsolve.torch_compat.operators import OpOverload, once_each, schema_of


@once_each
def _mutated(function: OpOverload) -> tuple[tuple[int, str], ...]:
    arguments = enumerate(schema_of(function).arguments)
    return tuple((i, a.name) for i, a in arguments if a.alias_info is not None and a.alias_info.is_write)


def written_arguments(function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """What a call writes into, of lists their items; with an `out` that is left out, None."""
    values = [args[i] if i < len(args) else kwargs.get(name) for i, name in _mutated(function)]
    return [item for value in values for item in (value if isinstance(value, (list, tuple)) else [value])]


def mutated_tensors(function: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """The tensors that a call writes into."""
    return [value for value in written_arguments(function, args, kwargs) if isinstance(value, Tensor)]
