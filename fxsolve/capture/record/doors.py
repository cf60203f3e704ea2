"""Ways to other processes and threads that pass no operator: remote procedure calls, futures, averaged gradients."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from fxsolve.capture.communication import Line
from fxsolve.capture.record.arrays import Follower
from fxsolve.capture.together import Together, Undo
from fxsolve.errors import CommunicationError
from fxsolve.torch_compat.dispatch import dispatch_modes
from fxsolve.torch_compat.processes import VALUES_OF_FUTURES, remote_calls
from fxsolve.torch_compat.trees import pytree

_Function = Callable[..., Any]
_REMOTE = "a remote procedure call"


def _watch(_is_here: Callable[[], bool]) -> Undo:
    # What follows the operators of a thread tells whether it records; others pass these doors as ever.
    places = [*_calls(), *_values()]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    for (owner, name, watched), (_, _, function) in zip(places, before, strict=True):
        setattr(owner, name, watched(function))
    return lambda: [setattr(*place) for place in before]


# In the body, followed runs use their line to other processes where they call these, or wait for what others compute.
watched_doors = Together(_watch)


def _calls() -> Iterator[tuple[Any, str, Callable[[_Function], _Function]]]:
    # Its backward pass averages gradients only if this has prepared it.
    yield nn.parallel.DistributedDataParallel, "forward", partial(_calling, "DistributedDataParallel")
    yield from ((owner, name, partial(_calling, _REMOTE)) for owner, name in remote_calls())


def _values() -> Iterator[tuple[Any, str, Callable[[_Function], _Function]]]:
    yield from ((owner, name, _waiting) for owner, name in VALUES_OF_FUTURES)


def _calling(what: str, function: _Function) -> _Function:
    def call(*args: Any, **kwargs: Any) -> Any:
        for follower in _followers():
            _use(follower, what)
        return function(*args, **kwargs)

    return call


def _waiting(function: _Function) -> _Function:
    def wait(*args: Any) -> Any:
        value = function(*args)
        tensors = [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]
        for follower in _followers():
            if any(follower.find(tensor) is None and id(tensor) not in follower.names for tensor in tensors):
                _use(follower, "a torch.futures.Future of another process or thread")
        return value

    return wait


def _followers() -> Iterator[Follower]:
    """What follows the operators of this thread."""
    for mode in dispatch_modes():
        if isinstance(getattr(mode, "line", None), Line):
            yield mode  # pyright: ignore[reportReturnType]


def _use(follower: Follower, what: str) -> None:
    if follower.error is not None:
        raise follower.error
    try:
        follower.line.use(what)
    except CommunicationError as error:
        follower.refuse(error)
