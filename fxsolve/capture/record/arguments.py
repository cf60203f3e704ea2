"""Lists and dicts among the arguments of a program stay what they were, and tensors there want no gradients anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from fxsolve.capture.communication import Line
from fxsolve.errors import SideEffectError
from fxsolve.state.held import Held
from fxsolve.state.places import Container, container_of, containers_in
from fxsolve.torch_compat.trees import pytree


@contextmanager
def unchanged(args: tuple[Any, ...], kwargs: dict[str, Any], line: Line) -> Iterator[None]:
    """In the body a program runs on these arguments, whose containers are as before after an error.

    Raises `SideEffectError` if it changes a container, or makes a tensor want gradients. What it does once it has used
    the `line` to other processes stays.
    """
    containers = tuple(one for value in (*args, *kwargs.values()) for one in containers_in(value))
    tensors = (leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
    held = Held(contents=containers, free=tuple(tensor for tensor in tensors if not tensor.requires_grad))
    try:
        yield
        if not line.used:
            _check(held)
    except Exception:
        if line.used:
            raise
        held.put_back()
        raise


def _check(held: Held) -> None:
    for one in held.contents:
        if _identities(one) != _identities(container_of(one.container)):
            kind = type(one.container).__name__
            raise SideEffectError(f"the program changes a {kind} among its arguments; return what is new instead.")
    if any(tensor.requires_grad and tensor.is_leaf for tensor in held.free):
        raise SideEffectError("the program makes an argument want gradients; do so before the call, or detach it.")


def _identities(one: Container) -> list[Any]:
    return [tuple(map(id, item)) for item in one.items] if isinstance(one.container, dict) else [*map(id, one.items)]
