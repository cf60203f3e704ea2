"""torch's operators for loops and branches, run as the Python code that they stand for, so that it is recorded."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.source import user_line
from fxsolve.errors import CaptureError
from fxsolve.torch_compat.operators import HigherOrderOperator
from fxsolve.torch_compat.trees import TreeSpec, pytree

_Leaves = tuple[Any, ...]


def is_control_flow(function: Any) -> bool:
    """Whether `function` is an operator that `run_control_flow` runs."""
    return isinstance(function, HigherOrderOperator) and function.name() in _RULES


def run_control_flow(operator: HigherOrderOperator, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `operator` returns, in the structure in which its body returns it, by ordinary calls."""
    return _RULES[operator.name()](*args, **kwargs)


def _scan(combine: Callable[..., Any], init: _Leaves, xs: tuple[Tensor, ...], additional_inputs: _Leaves = ()) -> Any:
    """carry_t, y_t = combine(carry_{t-1}, x_t): the last carry, then each y as a stack (T, ...).

    torch's own eager form scatters every y into a buffer, which gives the same values and hides that they are separate.
    """
    carry, rows, spec = tuple(init), [], None
    for t in range(xs[0].shape[0]):
        outputs, spec = pytree.tree_flatten(combine(*carry, *(x.select(0, t) for x in xs), *additional_inputs))
        carry, row = outputs[: len(init)], outputs[len(init) :]
        rows.append(row)
    return _rebuild([*carry, *_stack(rows)], spec)


def _while_loop(
    condition: Callable[..., Any],
    body: Callable[..., Any],
    carried_inputs: _Leaves,
    additional_inputs: _Leaves,
    mutated_arg_indices: str = "",
) -> Any:
    """s_t = body(s_{t-1}) while condition(s_{t-1}): the last s."""
    rows, spec = _iterate(condition, body, carried_inputs, additional_inputs)
    return _rebuild(rows[-1], spec)


def _while_loop_stack_output(
    condition: Callable[..., Any],
    body: Callable[..., Any],
    carried_inputs: _Leaves,
    additional_inputs: _Leaves,
    mutated_arg_indices: str = "",
) -> Any:
    """As `_while_loop`, with every s as a stack (T, ...)."""
    rows, spec = _iterate(condition, body, carried_inputs, additional_inputs)
    return _rebuild(_stack(rows), spec)


def _cond(
    predicate: Tensor, true_branch: Callable[..., Any], false_branch: Callable[..., Any], operands: _Leaves = ()
) -> Any:
    """The branch that is taken; which one is read from the predicate, and so guarded."""
    return (true_branch if predicate else false_branch)(*operands)


_RULES = {"cond": _cond, "scan": _scan, "while_loop": _while_loop, "while_loop_stack_output": _while_loop_stack_output}


def _iterate(
    condition: Callable[..., Any], body: Callable[..., Any], carried: _Leaves, additional: _Leaves
) -> tuple[list[list[Any]], TreeSpec | None]:
    values, spec, rows = list(carried), None, []
    while condition(*values, *additional):
        values, spec = pytree.tree_flatten(body(*values, *additional))
        rows.append(values)
    if not rows:
        raise CaptureError(f"{user_line()}: a while_loop that makes no step is not recorded.")
    return rows, spec


def _stack(rows: list[list[Any]]) -> list[Any]:
    return [None if column[0] is None else torch.stack(column) for column in zip(*rows, strict=True)]


def _rebuild(leaves: list[Any], spec: TreeSpec | None) -> Any:
    assert spec is not None
    return pytree.tree_unflatten(leaves, spec)
