"""A recorder on its own, for the tests of what it is made of."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from fxsolve.capture.communication import Line
from fxsolve.capture.record.dispatch import Dispatcher
from fxsolve.capture.record.read_watch import ReadWatch
from fxsolve.state.reach import Reach, find_reach, name_tensors

NOTHING = Reach({}, ())


def recorder_of(inputs: Sequence[Tensor] = (), program: Any = None, *, is_open: bool = True) -> Dispatcher:
    """The recorder of a program, from before the run on these inputs."""
    reach = NOTHING if program is None else find_reach(program)
    recorder = Dispatcher(name_tensors(reach), {}, Line(is_open))
    for index, tensor in enumerate(inputs):
        recorder.add_input(tensor, index)
    return recorder


def targets(recorder: Dispatcher) -> list[Any]:
    """The calls that were written down, in order."""
    return [node.target for node in recorder.graph.nodes if node.op == "call_function"]


def run(recorder: Dispatcher, program: Callable[..., Any], *args: Any) -> Any:
    """What the program returns, recorded."""
    with recorder, ReadWatch(recorder):
        return program(*args)
