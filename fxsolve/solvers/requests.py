"""Who asks for certificates, and how they come by them."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch

from fxsolve.solvers.certificate import Certificate
from fxsolve.solvers.context import During
from fxsolve.solvers.solution import Solution, tell, untold


@dataclass(eq=False)
class Request:
    """Certificates that somebody asked for, in the order of the solves."""

    seen: list[Certificate] = field(default_factory=list)
    is_open: bool = True


_requests: ContextVar[tuple[Request, ...]] = ContextVar("fxsolve_certificates", default=())


@contextmanager
def certificates() -> Iterator[list[Certificate]]:
    """Collect a `Certificate` for every solve of every loop inside the block, in order, at the cost of a few sweeps.

    The first call of a kind runs the program as written; it is given the certificates of the run that checked the
    emitted module on the same inputs. A backward pass in a thread of autograd's (on a GPU) counts if it and the call
    that it belongs to are inside.
    """
    request = Request()
    try:
        with During(_requests, (*_requests.get(), request)):
            yield request.seen
    finally:
        request.is_open = False


def unasked() -> AbstractContextManager[None]:
    """Nobody's certificates: the solves inside are not those of a call."""
    return During(_requests, ())


def asked_by(others: tuple[Request, ...]) -> AbstractContextManager[None]:
    """Certificates also for `others`, of another thread, as far as their blocks have not ended."""
    mine = _requests.get()
    return During(_requests, (*mine, *(one for one in others if one.is_open and one not in mine)))


def requests() -> tuple[Request, ...]:
    """Who asks for certificates here."""
    return _requests.get()


def deliver(found: tuple[Certificate, ...]) -> None:
    """Hand certificates that are known already to whoever asks here."""
    for request in _requests.get():
        request.seen.extend(found)


def publish(solution: Solution, certify: Callable[[Solution], Certificate]) -> None:
    """Hand `solution` to its observers, and its certificate, which is made only then, to those who ask for it."""
    tell(solution)
    if _requests.get():
        deliver((_attempt(solution, certify),))


def _attempt(solution: Solution, certify: Callable[[Solution], Certificate]) -> Certificate:
    # Whatever goes wrong here (no memory, no value of a tensor under a transform), the solution itself is there.
    try:
        with unasked(), untold(), torch.no_grad():
            return certify(solution)
    except Exception as error:
        problem = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return Certificate(solution, math.inf, False, solution.prefix, None, "none", problem=problem)
