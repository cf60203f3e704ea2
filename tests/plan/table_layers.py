"""Layers (C, T) -> (C, T) made of every op in the table of op facts, with whatever arguments it takes."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from fxsolve.ops.access import Made, Unwritten
from fxsolve.ops.facts import FACTS

C, T = 4, 6
Layer = Callable[[Tensor], Tensor]

_generator = torch.Generator().manual_seed(2)
_MIX, _COLUMN, _KERNEL = (torch.randn(*size, generator=_generator) for size in ((C, C), (C, 1), (C, C, 3)))
_ROWS, _TIMES = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 0, 4, 2, 5, 3])
_MASK = torch.ones(C, T).triu(1).bool()

# Ops refuse most of these; every form that one takes is a layer.
_FORMS: dict[str, Callable[[Tensor], tuple[Any, ...]]] = {
    "x": lambda x: (x,),
    "x, x": lambda x: (x, x),
    "x, tanh x": lambda x: (x, x.tanh()),
    "x, 0.5": lambda x: (x, 0.5),
    "x, 0": lambda x: (x, 0),
    "x, 1": lambda x: (x, 1),
    "x, 2": lambda x: (x, 2),
    "x, [0]": lambda x: (x, [0]),
    "x, [0], kept": lambda x: (x, [0], True),
    "x, [1], kept": lambda x: (x, [1], True),
    "x, 0, kept": lambda x: (x, 0, True),
    "x, 1, kept": lambda x: (x, 1, True),
    "x, 2, 0": lambda x: (x, 2, 0),
    "x, 1, 1": lambda x: (x, 1, 1),
    "x, -1, 1": lambda x: (x, [-1], [1]),
    "x, [C, T]": lambda x: (x, [C, T]),
    "x, [1, -1]": lambda x: (x, [1, -1]),
    "x, [1, -1], 0": lambda x: (x, [1, -1], 0.0),
    "x, [1, 1]": lambda x: (x, [1, 1]),
    "[x, x], 0": lambda x: ([x[:2], x[2:]], 0),
    "[x, x], 1": lambda x: ([x[:, :3], x[:, 3:]], 1),
    "x, where": lambda x: (_MASK, x, x * 2),
    "x, mask": lambda x: (x, _MASK, 0.0),
    "mix, x": lambda x: (_MIX, x),
    "column, mix, x": lambda x: (_COLUMN, _MIX, x),
    "x, 0, rows": lambda x: (x, 0, _ROWS),
    "x, 1, times": lambda x: (x, 1, _TIMES),
    "x, 0, places": lambda x: (x, 0, x.argsort(0)),
    "x, 0, places, x": lambda x: (x, 0, x.argsort(0), x),
    "x, 1, places": lambda x: (x, 1, x.argsort(1)),
    "x, 0, rows, x": lambda x: (x, 0, _ROWS[:2], x[:2]),
    "x, 1, times, x": lambda x: (x, 1, _TIMES[:2], x[:, :2]),
    "x, [rows]": lambda x: (x, [_ROWS]),
    "x, [rows], x": lambda x: (x, [_ROWS], x),
    "x, x, 0, 1": lambda x: (x, x[:1], 0, 1, 2),
    "x, x, 1, 2": lambda x: (x, x[:, :1], 1, 2, 3),
    "x, [T], None, None, eps": lambda x: (x, [T], None, None, 1e-5),
    "x.T, [C], None, None, eps": lambda x: (x.mT, [C], None, None, 1e-5),
    "x, x, x": lambda x: (x, x, x),
    "convolution": lambda x: (x[None], _KERNEL, None, [1], [1], [1], False, [0], 1),
    "windows": lambda x: (x[None], [3], [1], [1]),
    "x, 0, of doubles": lambda x: (x, 0, False),
    "x, 1, of doubles": lambda x: (x, 1, False),
    "x.T, [1, 0]": lambda x: (x.mT, [1, 0]),
    "x, [2, 2]": lambda x: (x, [2, 2], 0),
    "x, [2, 2, 2]": lambda x: (torch.cat((x, x), 1), [T, T], 1),
    "batch of mix, x": lambda x: (_MIX[None], x[None]),
    "batch of x.T x, x.T": lambda x: ((x.mT @ x)[None], x.mT[None]),
    "column, batch of mix, x": lambda x: (_COLUMN, _MIX[None], x[None]),
    "x.T, mix": lambda x: (x.mT, _MIX),
    "x, x, 0": lambda x: (torch.cat((x, x), 0), 0),
    "samples, size": lambda x: (x[None], [T], None),
    "groups": lambda x: (x[None], None, None, 1, C, T, 2, 1e-5),
    "in training": lambda x: (x[None], None, None, None, None, True, 0.1, 1e-5),
    "in evaluation": lambda x: (x[None], None, None, torch.zeros(C), torch.ones(C), False, 0.1, 1e-5),
    "statistics": lambda x: (x[None], None, None, torch.zeros(C), torch.ones(C), 0.1, 1e-5),
    "causal attention": lambda x: (*[x.mT[None, None]] * 3, None, 0.0, True),
    "attention": lambda x: (*[x.mT[None, None]] * 3, None, 0.0, False),
    "masked attention": lambda x: (*[x.mT[None, None]] * 3, torch.ones(T, T).tril().bool()),
}


def _first_tensor(result: Any) -> Tensor | None:
    while isinstance(result, (tuple, list)) and result:
        result = result[0]
    return result if isinstance(result, Tensor) else None


def _fitted(result: Tensor) -> Tensor:
    """A result as finite real numbers in the form of a layer, or an error."""
    real = torch.view_as_real(result).sum(-1) if result.is_complex() else result.float()
    bounded = torch.asinh(torch.nan_to_num(real, 0.0, 1.0, -1.0))
    while bounded.dim() > 2 and len(bounded) == 1:
        bounded = bounded[0]
    return (bounded.mT if bounded.shape == (T, C) else bounded).expand(C, T)


def _layers(name: str) -> Iterator[tuple[str, Layer]]:
    packet, _, overload = name.partition(".")
    ops = getattr(torch.ops.aten, packet, None)
    for kind in [overload] if overload else ops.overloads() if ops is not None else []:
        call = getattr(ops, kind)
        if not call.is_view and call._schema.is_mutable:
            continue
        for form, arguments in _FORMS.items():

            def layer(x: Tensor, call: Any = call, arguments: Any = arguments) -> Tensor:
                found = _first_tensor(call(*arguments(x)))
                assert found is not None
                return _fitted(found) + 0.5 * x

            try:
                layer(torch.randn(C, T))
            except (RuntimeError, AssertionError, TypeError, IndexError, ValueError, NotImplementedError):
                continue
            yield f"{name} {kind} ({form})", layer


def table_layers() -> dict[str, Layer]:
    """A layer for every op, overload and form of arguments that work together."""
    made = {name: fact for name, fact in FACTS.items() if not isinstance(fact.access, (Made, Unwritten))}
    return dict(pair for name in made for pair in _layers(name))
