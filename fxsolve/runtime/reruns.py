"""Results of a call and their likes in the program run again, whose graph stands for the program's own.

What was differentiated with `create_graph` leads to the likes: the program's own backward pass reads results, as that
of `tanh` does, and that of the rerun reads its own. So a later pass through it has parts of the gradients of results.
"""

from collections.abc import Sequence
from functools import partial
from weakref import ref

from torch import Tensor

from fxsolve.errors import GradientError
from fxsolve.torch_compat.gradients import at_end_of_backward
from fxsolve.torch_compat.tensors import hooks_of


def follow(results: Sequence[ref[Tensor]], likes: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    """From now on a backward pass that comes to the like of a result brings to the result what it finds there.

    What was `given` to the program has its whole gradient without. Call it behind the first pass, which comes to the
    likes with what the results have got already.
    """
    known = {id(tensor) for tensor in given}
    for result, like in zip(results, likes, strict=False):
        if like.grad_fn is not None and id(like) not in known:
            like.register_hook(partial(_bring, result))


def _bring(result: ref[Tensor], part: Tensor) -> None:
    """Add a part to the gradient that a result retains, when the pass that found it is over.

    Raises:
        GradientError: the result has hooks, which are for its whole gradient, and have seen the rest of it or will.
    """
    tensor = result()
    if tensor is None:
        return
    if hooks_of(tensor):
        raise GradientError(
            "a result of the compiled program has a hook, and a gradient that was made with create_graph=True is "
            "differentiated through it; put the hook on result.clone(), and differentiate that, or call the original."
        )
    if tensor.retains_grad:
        at_end_of_backward(partial(_add, tensor, part))


def _add(tensor: Tensor, part: Tensor) -> None:
    tensor.grad = part if tensor.grad is None else tensor.grad + part
