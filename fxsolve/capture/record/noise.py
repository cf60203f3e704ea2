"""Randomness is an input: a random call becomes a draw that depends on no value, and an ordinary remainder.

Draws are made before the run in the order in which the program makes them, so the same seed gives the same samples.
Every rewritten form is proved on the recorded run: same bits, same state of the generator afterwards.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fxsolve.capture.bits import same_bits
from fxsolve.capture.record.recorder import Recorder
from fxsolve.capture.source import user_line
from fxsolve.errors import CaptureError
from fxsolve.ir.tensor_spec import TensorSpec, spec_of
from fxsolve.torch_compat.operators import OpOverload, schema_of
from fxsolve.torch_compat.tensors import address_of_generator

aten = torch.ops.aten


def draw_into_empty(function: OpOverload, spec: TensorSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """What `function` draws for a tensor of this shape, stride, dtype and device; its values play no part."""
    empty = torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=spec.device)
    return function(empty, *args, **kwargs)


def draw_dropout_mask(spec: TensorSpec, p: float) -> Tensor:
    """The boolean mask of `native_dropout` for a tensor of this shape, stride, dtype and device."""
    empty = torch.empty_strided(spec.shape, spec.stride, dtype=spec.dtype, device=spec.device)
    return aten.native_dropout.default(empty, p, True)[1]


_Arguments = tuple[Any, ...]
_Options = dict[str, Any]


def _itself(recorder: Recorder, function: OpOverload, args: _Arguments, kwargs: _Options) -> Tensor:
    return recorder.draw(function, *args, **kwargs)


def _like(recorder: Recorder, function: OpOverload, args: _Arguments, kwargs: _Options) -> Tensor:
    return _filled(recorder, function, spec_of(args[0]), args[1:], kwargs)


def _fill(recorder: Recorder, function: OpOverload, args: _Arguments, kwargs: _Options) -> Tensor:
    value = _filled(recorder, function, spec_of(args[0]), args[1:], kwargs)
    return recorder.mutate(aten.copy_.default, (args[0], value), {})


def _as_it_is(recorder: Recorder, function: OpOverload, args: _Arguments, kwargs: _Options) -> Any:
    record = recorder.mutate if schema_of(function).is_mutable else recorder.call
    return record(function, args, kwargs)


def _filled(recorder: Recorder, function: OpOverload, spec: TensorSpec, args: _Arguments, kwargs: _Options) -> Tensor:
    return recorder.draw(draw_into_empty, function, spec, args, kwargs)


def _spec_contiguous(shape: tuple[int, ...], like: Tensor) -> TensorSpec:
    return spec_of(torch.empty(shape, dtype=like.dtype, device="meta"), like.device)


def _bernoulli(recorder: Recorder, _: OpOverload, args: _Arguments, kwargs: _Options) -> Tensor:
    (p,) = args
    uniform = _filled(recorder, aten.uniform_.default, _spec_contiguous(p.shape, p), (), kwargs)
    less = recorder.call(aten.lt.Tensor, (uniform, p), {})
    return recorder.call(aten._to_copy.default, (less,), {"dtype": p.dtype})


def _bernoulli_fill(recorder: Recorder, _: OpOverload, args: _Arguments, kwargs: _Options) -> Tensor:
    target, p = args
    uniform = _filled(recorder, aten.uniform_.default, spec_of(target)._replace(dtype=p.dtype), (), kwargs)
    return recorder.mutate(aten.copy_.default, (target, recorder.call(aten.lt.Tensor, (uniform, p), {})), {})


def _multinomial(recorder: Recorder, function: OpOverload, args: _Arguments, kwargs: _Options) -> Tensor:
    p, count, *replacement = args
    if count > 1 and any(replacement):
        raise CaptureError(f"{user_line()}: {function} with replacement depends on its probabilities; draw one by one.")
    exponential = _filled(recorder, aten.exponential_.default, _spec_contiguous(p.shape, p), (), kwargs)
    ratio = recorder.call(aten.div.Tensor, (p, exponential), {})
    if count == 1:
        return recorder.call(aten.argmax.default, (ratio, -1, True), {})
    return recorder.call(aten.topk.default, (ratio, count), {})[1]


def _normal_mean(recorder: Recorder, _: OpOverload, args: _Arguments, kwargs: _Options) -> Tensor:
    mean, *std = args
    spec = _spec_contiguous(mean.shape, mean)
    standard = _filled(recorder, aten.normal_.default, spec, (0.0, *(std or [1.0])), kwargs)
    return recorder.call(aten.add.Tensor, (standard, mean), {})


def _normal_std(recorder: Recorder, _: OpOverload, args: _Arguments, kwargs: _Options) -> Tensor:
    mean, std = args
    shape = torch.broadcast_shapes(mean.shape, std.shape) if isinstance(mean, Tensor) else std.shape
    standard = _filled(recorder, aten.normal_.default, _spec_contiguous(shape, std), (0.0, 1.0), kwargs)
    return recorder.call(aten.add.Tensor, (recorder.call(aten.mul.Tensor, (standard, std), {}), mean), {})


def _dropout(recorder: Recorder, function: OpOverload, args: _Arguments, kwargs: _Options) -> tuple[Tensor, Tensor]:
    x, p, train = args
    if not train:
        return recorder.call(function, args, kwargs)
    mask = recorder.draw(draw_dropout_mask, spec_of(x), p)
    kept = recorder.call(aten.mul.Tensor, (x, mask), {})
    return recorder.call(aten.mul.Tensor, (kept, 0.0 if p == 1 else 1 / (1 - p)), {}), mask


_Rule = Callable[[Recorder, OpOverload, _Arguments, _Options], Any]


def _overloads(rule: _Rule, *packets: Any) -> dict[OpOverload, _Rule]:
    overloads = [getattr(packet, name) for packet in packets for name in packet.overloads()]
    return {function: rule for function in overloads if not _has_out(function)}


def _has_out(function: OpOverload) -> bool:
    return any(argument.is_out for argument in schema_of(function).arguments)


_RULES: Mapping[OpOverload, _Rule] = {
    **_overloads(_itself, aten.rand, aten.randn, aten.randint, aten.randperm),
    aten.normal.float_float: _itself,
    **_overloads(_like, aten.rand_like, aten.randn_like, aten.randint_like, aten.uniform, aten.exponential),
    **_overloads(_like, aten.cauchy, aten.log_normal, aten.geometric),
    aten.bernoulli.p: _like,
    **_overloads(_fill, aten.uniform_, aten.normal_, aten.exponential_, aten.random_),
    **_overloads(_fill, aten.cauchy_, aten.log_normal_, aten.geometric_),
    aten.bernoulli_.float: _fill,
    aten.bernoulli.default: _bernoulli,
    aten.bernoulli_.Tensor: _bernoulli_fill,
    aten.multinomial.default: _multinomial,
    aten.normal.Tensor_float: _normal_mean,
    aten.normal.float_Tensor: _normal_std,
    aten.normal.Tensor_Tensor: _normal_std,
    aten.native_dropout.default: _dropout,
}


def is_random(function: OpOverload) -> bool:
    """Whether the operator may use a random generator."""
    return function in _RULES or torch.Tag.nondeterministic_seeded in function.tags


def generator_of(device: torch.device) -> torch.Generator:
    """The generator that is used on `device` when the program names none."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.default_generators[index]
    return torch.default_generator


def split(recorder: Recorder, function: OpOverload, args: _Arguments, kwargs: _Options) -> Any:
    """Record a random call as a draw and a remainder.

    Raises:
        CaptureError: there is no rule for the operator, or its rule does not give the same bits on this device.
    """
    explicit = kwargs.get("generator")
    if explicit is not None and address_of_generator(explicit) not in recorder.generators:
        recorder.fresh.add(explicit, user_line())
    rule = _RULES.get(function)
    if rule is _itself:
        return _itself(recorder, function, args, kwargs)
    generator = explicit or generator_of(_device(args))
    return _prove(recorder, function, args, kwargs, generator, rule)


def _device(args: _Arguments) -> torch.device:
    return next((arg.device for arg in args if isinstance(arg, Tensor)), torch.device("cpu"))


def _prove(
    recorder: Recorder,
    function: OpOverload,
    args: _Arguments,
    kwargs: _Options,
    generator: torch.Generator,
    rule: _Rule | None,
) -> Any:
    if schema_of(function).is_mutable:
        recorder.allow_mutation(function, args, kwargs)
    before = generator.get_state()
    expected = _copies(function(*args, **kwargs))
    after = generator.get_state()
    if rule is None and not torch.equal(before, after):
        raise CaptureError(f"{user_line()}: fxsolve has no rule to draw the random numbers of {function} beforehand.")
    generator.set_state(before)
    result = (rule or _as_it_is)(recorder, function, args, kwargs)
    proved = all(map(same_bits, expected, _tensors(result)))
    if not proved or not torch.equal(generator.get_state(), after):
        raise CaptureError(f"{user_line()}: on {generator.device}, {function} does not draw as fxsolve's rule says.")
    return result


def _tensors(result: Any) -> list[Tensor]:
    values = result if isinstance(result, (list, tuple)) else [result]
    return [value for value in values if isinstance(value, Tensor)]


def _copies(result: Any) -> list[Tensor]:
    return [tensor.clone() for tensor in _tensors(result)]
