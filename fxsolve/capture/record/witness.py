"""A witness: one plain run of a program that tells which calls it makes, and that writes into nothing that stays."""

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor

from fxsolve.capture.backward.boundary import Earlier
from fxsolve.capture.communication import Line
from fxsolve.capture.pause import paused_collector
from fxsolve.capture.record.as_written import as_written
from fxsolve.capture.record.doors import watched_doors
from fxsolve.capture.record.fast_paths import fast_paths
from fxsolve.capture.record.kinds import Kind, kind_of
from fxsolve.capture.record.mutated import mutated_tensors
from fxsolve.capture.record.read_watch import ReadWatch
from fxsolve.capture.record.reads import check_literal
from fxsolve.capture.record.statistics import updates_statistics
from fxsolve.capture.stream import Entry, Listener
from fxsolve.errors import CaptureError
from fxsolve.state.memory import storage_of
from fxsolve.state.reach import Reach
from fxsolve.state.snapshot import take_snapshot
from fxsolve.torch_compat.dispatch import LightMode, WithoutTorchFunction
from fxsolve.torch_compat.operators import OpOverload, schema_of


class _Witness(LightMode):
    """Lists every call, about 8 us each, and refuses those that would write into `kept` memory."""

    supports_higher_order_operators = True

    def __init__(self, kept: set[int]) -> None:
        super().__init__()
        self.listener = Listener()
        self.literals: list[Tensor] = []
        self.names: dict[int, Any] = {}
        self.literal_is_checked = False
        self.error: CaptureError | None = None
        self.line = Line(is_open=False)
        self.hooks: list[Any] = []
        self._kept = kept
        self._earlier = Earlier()

    def find(self, tensor: Tensor) -> Tensor:
        """Every tensor is one that the run may have computed."""
        return tensor

    def holds_scalar(self) -> bool:
        """Whether one of these may be of one entry."""
        return True

    def guard_values(self, tensor: Tensor, expected: tuple[Any, ...]) -> None:
        """What is read is guarded by the values in the recordings."""

    def move(self, tensor: Tensor, data: Tensor) -> None:
        """Which tensor has which memory is known of recordings only."""
        raise CaptureError("the program sets the data of a tensor.")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        with WithoutTorchFunction():
            try:
                if self._earlier.running() is None:
                    self._examine(func, args, kwargs or {})
            except CaptureError as error:
                self.refuse(error)
            return func(*args, **(kwargs or {}))

    def refuse(self, error: CaptureError) -> NoReturn:
        """Raise an error that ends the run, and keep it: the program may catch it."""
        self.error = self.error or error
        raise error

    def _examine(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.error is not None:
            raise self.error
        if not isinstance(function, OpOverload):
            raise CaptureError(f"the operator {function} takes functions.")
        self.listener.hear(function, args, kwargs)
        kind = kind_of(function)
        if kind is Kind.COMMUNICATION:
            self.line.use(str(function))
        if kind is Kind.LIFT:
            check_literal(self, args[0])
            self.literals.append(args[0].clone())
        if kind is Kind.STORAGE or updates_statistics(function, args):
            raise CaptureError(f"{function} may write into a tensor that outlives the call.")
        if schema_of(function).is_mutable and any(
            storage_of(tensor) in self._kept for tensor in mutated_tensors(function, args, kwargs)
        ):
            raise CaptureError(f"{function} writes into a tensor that outlives the call.")


class Witness:
    """Watches runs of a program that reaches `reach` and the `inputs`."""

    def __init__(self, reach: Reach, inputs: Iterable[Tensor]) -> None:
        held = take_snapshot(reach).tensors()
        self._mode = _Witness({storage_of(tensor) for tensor in (*inputs, *held) if tensor.layout == torch.strided})

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The calls so far."""
        return self._mode.listener.stream().entries

    @property
    def literals(self) -> tuple[Tensor, ...]:
        """The constants made of Python numbers so far."""
        return tuple(self._mode.literals)

    def watch(self, run: Callable[[], Any]) -> Any:
        """What `run()` returns.

        Raises:
            CaptureError: it reads or writes what a recording of it would refuse; nothing has been written then.
        """
        with paused_collector(), as_written(), fast_paths(), watched_doors(), self._mode, ReadWatch(self._mode):
            result = run()
        if self._mode.error is not None:
            raise self._mode.error
        return result
