"""What the recorder does about each kind of operator."""

from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.graph import Node

from fxsolve.capture.record import noise, reads, statistics
from fxsolve.capture.record.kinds import Kind, kind_of
from fxsolve.capture.record.mutated import mutated_tensors
from fxsolve.capture.record.recorder import ENDLESS, Recorder
from fxsolve.capture.source import user_line
from fxsolve.errors import CaptureError
from fxsolve.torch_compat.operators import OpOverload
from fxsolve.torch_compat.trees import pytree

aten = torch.ops.aten


@final
class Dispatcher(Recorder):
    """The recorder of a run: by its kind, each operator is written down, drawn, guarded, taken apart, or refused."""

    def handle(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.error is not None:
            raise self.error
        if not isinstance(function, OpOverload):
            raise CaptureError(f"{user_line()}: the operator {function} takes functions; write it as a Python loop.")
        if self.uninitialized:
            self.uninitialized.write(mutated_tensors(function, args, kwargs))
        match kind_of(function):
            case Kind.CALL:
                return self.call(function, args, kwargs)
            case Kind.MUTATION:
                return self.mutate(function, args, kwargs)
            case Kind.RANDOM:
                return noise.split(self, function, args, kwargs)
            case Kind.READ:
                return reads.guard_read(self, function, args, kwargs)
            case Kind.LIFT:
                reads.check_literal(self, args[0])
                # A literal is the same in every run, so what is done to it in place must happen to a copy.
                self.listener.literals.append(self.node_of(args[0]).name)
                return self.call(aten.clone.default, args, {})
            case Kind.STATISTICS:
                return statistics.record_normalization(self, function, args, kwargs)
            case Kind.GRAD_MODE:
                # The kernel asks for the grad mode, and not for `train`, which the record has that mode in place of.
                return self.call(function, (*args[:-1], torch.is_grad_enabled()), kwargs)
            case Kind.COMPOSITE:
                with self:
                    return function.decompose(*args, **kwargs)
            case Kind.REMARK:
                return function(*args, **kwargs)  # a name for the profiler, and no value of the program
            case Kind.COMMUNICATION:
                self.line.use(str(function))
                return function(*args, **kwargs)
            case Kind.STORAGE:
                raise CaptureError(f"{user_line()}: {function} works on a storage; fxsolve handles tensors.")

    def run_outside(self, node: Node, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call that autograd makes for a node from before the run, whose saved tensors are others at each run.

        Where a backward pass ends, such nodes look at what they saved, and give nothing.
        """
        if not self.backward:
            raise CaptureError(
                f"{user_line()}: the program differentiates through {node.name()}, which is from before the call; "
                "compute inside of the program what it differentiates."
            )
        if not isinstance(function, OpOverload) or kind_of(function) not in (
            Kind.CALL,
            Kind.LIFT,
            Kind.COMPOSITE,
            Kind.GRAD_MODE,
        ):
            raise CaptureError(ENDLESS)
        result = function(*args, **kwargs)
        self.outside += [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, Tensor)]
        return result
