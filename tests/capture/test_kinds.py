"""Every operator has one kind, and none that writes, draws or reads is a plain call."""

from functools import cache
from typing import Any

import pytest
import torch

from fxsolve.capture.record import noise, reads
from fxsolve.capture.record.kinds import Kind, kind_of
from fxsolve.torch_compat.operators import OpOverload, can_decompose, schema_of

aten = torch.ops.aten


@cache
def overloads() -> list[OpOverload]:
    """Those of ATen that the dispatcher knows."""
    packets = [getattr(aten, name) for name in dir(aten)]
    found = [getattr(packet, name) for packet in packets if hasattr(packet, "overloads") for name in packet.overloads()]
    names = {*torch._C._dispatch_get_all_op_names()}
    return [one for one in found if isinstance(one, OpOverload) and one.name() in names]


EXAMPLES: dict[Any, Kind] = {
    aten.add.Tensor: Kind.CALL,
    aten.t.default: Kind.CALL,
    aten.silu_backward.default: Kind.CALL,  # PyTorch has a kernel, and Python a rule that rounds in another way
    aten.mish_backward.default: Kind.COMPOSITE,  # has a kernel, and none for a batch
    aten.matmul.default: Kind.COMPOSITE,
    aten.add_.Tensor: Kind.MUTATION,
    aten.add.out: Kind.MUTATION,
    aten.uniform_.default: Kind.RANDOM,
    aten.native_dropout.default: Kind.RANDOM,
    aten._local_scalar_dense.default: Kind.READ,
    aten.nonzero.default: Kind.READ,
    aten.equal.default: Kind.READ,
    aten.lift_fresh.default: Kind.LIFT,
    aten.native_batch_norm.default: Kind.COMPOSITE,
    aten.cudnn_batch_norm.default: Kind.STATISTICS,
    aten._native_batch_norm_legit.default: Kind.MUTATION,
    aten._native_batch_norm_legit.no_stats: Kind.CALL,
    aten.mkldnn_rnn_layer.default: Kind.GRAD_MODE,
    aten.set_.source_Storage: Kind.STORAGE,
    torch.ops.profiler._record_function_enter_new.default: Kind.REMARK,
    torch.ops._c10d_functional.all_reduce.default: Kind.COMMUNICATION,
}


@pytest.mark.parametrize("function", EXAMPLES)
def test_the_kind_of_an_operator(function: OpOverload) -> None:
    assert kind_of(function) is EXAMPLES[function]


def test_every_kind_has_an_example() -> None:
    assert set(EXAMPLES.values()) == set(Kind)


def test_of_all_operators_those_that_are_plain_calls_do_nothing_but_compute() -> None:
    calls = [one for one in overloads() if kind_of(one) is Kind.CALL]
    assert len(calls) > 500
    for function in calls:
        assert not schema_of(function).is_mutable, function
        assert not noise.is_random(function), function
        assert not reads.is_read(function), function


def test_what_writes_is_a_write_a_draw_or_taken_apart() -> None:
    kinds = {kind_of(one) for one in overloads() if schema_of(one).is_mutable}
    assert kinds == {Kind.MUTATION, Kind.RANDOM, Kind.COMPOSITE, Kind.STORAGE}
    assert all(can_decompose(one) for one in overloads() if kind_of(one) is Kind.COMPOSITE)
