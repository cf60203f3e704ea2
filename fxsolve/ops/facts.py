"""What is known of each ATen op, once: the table that every domain reads. An op without a row is opaque.

To add an op, add its name to a row; all of its overloads share the row, but for those that have one of their own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import torch

from fxsolve.ops.access import (
    Access,
    Attention,
    AttentionLayer,
    BatchNorm,
    Chosen,
    ConstantFill,
    Convolution,
    Copied,
    Cumulative,
    Cut,
    Expanded,
    FromParts,
    Gathered,
    GroupNorm,
    Indexed,
    Joined,
    LayerNorm,
    LookUp,
    Made,
    Opaque,
    Parts,
    Permuted,
    Placed,
    Pool,
    Product,
    Put,
    RealParts,
    Rearranged,
    Recurrence,
    Reduced,
    Reshaped,
    SameEntries,
    SamePlace,
    Scattered,
    Selected,
    SlicesAdded,
    Softmax,
    Spread,
    Triangle,
    Unwritten,
)
from fxsolve.torch_compat.operators import OpOverload, once_each, overload_name_of, schema_of

EVERYTHING = (-inf, inf)


@dataclass(frozen=True)
class Fact:
    """`access` tells what an entry reads; where that cannot be followed, the first `apart` dimensions stay apart.

    `affine` lists groups of arguments, "a b": the op is affine in those of a group together, whatever the others are.
    None leaves it to the access: what moves entries is linear in them, a product in each factor.

    `range` are the ends between which all results lie that are real numbers, whatever the arguments are. `neutral` is
    the number that changes nothing of what is combined. A zero in `divisor`, if it is an integer, raises an error.
    An op is `idempotent` if f(f(x)) is f(x) in its first argument, whatever else it is given: `nan_to_num` is not, as
    infinity may take the place of NaN, and the next call replaces that. It is `exact` if its results are arguments, or
    the numbers nearest to the exact ones, so that every kernel gives the same bits; what moves entries always is. It is
    `finite` if, but for overflow, it makes finite numbers of finite ones; of what is not pointwise the access tells.
    """

    access: Access
    apart: int = 0
    affine: tuple[str, ...] | None = None
    range: tuple[float, float] = EVERYTHING
    neutral: float | None = None
    divisor: str = ""
    idempotent: bool = False
    exact: bool = False
    finite: bool = False


Facts = Mapping[str, Fact]


def name_of(target: OpOverload) -> str:
    """`add` for `aten::add`; ops of other libraries keep the names of these."""
    return schema_of(target).name.removeprefix("aten::")


def fact_of(target: OpOverload, facts: Facts) -> Fact:
    """The row of an overload, or else that of its op, or else what torch says of the op."""
    return _usual_fact(target) if facts is FACTS else _find(target, facts)


def access_of(target: Any) -> Access:
    """How the results of a call read its arguments; what is no op reads everything."""
    return _usual_fact(target).access if isinstance(target, OpOverload) else Opaque()


@once_each
def _usual_fact(target: OpOverload) -> Fact:
    """Passes ask for each of a hundred thousand calls."""
    return _find(target, FACTS)


def _find(target: OpOverload, facts: Facts) -> Fact:
    name = name_of(target)
    known = facts.get(f"{name}.{overload_name_of(target)}", facts.get(name))
    if known is not None:
        return known
    return Fact(SamePlace() if torch.Tag.pointwise in target.tags else Opaque())


def _rows(names: str, fact: Fact) -> Iterable[tuple[str, Fact]]:
    return ((name, fact) for name in names.split())


_SELF = ("self",)

FACTS: Facts = dict(
    [
        # Pointwise. Those that torch tags so have a row only if there is more to say.
        *_rows("_to_copy clone alias detach contiguous lift_fresh_copy resolve_conj resolve_neg", Fact(SameEntries())),
        *_rows("hardtanh_backward _prelu_kernel dropout feature_dropout alpha_dropout", Fact(SamePlace())),
        *_rows("elu_backward leaky_relu_backward softplus_backward mish_backward", Fact(SamePlace())),
        *_rows("hardswish_backward hardsigmoid_backward", Fact(SamePlace())),
        *_rows("tanh sin cos", Fact(SamePlace(), range=(-1.0, 1.0), finite=True)),
        *_rows("sign", Fact(SamePlace(), range=(-1.0, 1.0), idempotent=True, exact=True, finite=True)),
        *_rows("sigmoid hardsigmoid", Fact(SamePlace(), range=(0.0, 1.0), finite=True)),
        *_rows("exp sqrt", Fact(SamePlace(), range=(0.0, inf))),
        *_rows("relu abs", Fact(SamePlace(), range=(0.0, inf), idempotent=True, exact=True, finite=True)),
        *_rows("gelu silu mish elu leaky_relu hardswish softplus", Fact(SamePlace(), finite=True)),
        *_rows("ceil floor round.default trunc", Fact(SamePlace(), idempotent=True, exact=True, finite=True)),
        *_rows("clamp clamp_max clamp_min", Fact(SamePlace(), idempotent=True, exact=True, finite=True)),
        *_rows("maximum minimum", Fact(SamePlace(), idempotent=True, exact=True, finite=True)),
        *_rows("hardtanh", Fact(SamePlace(), idempotent=True, finite=True)),
        *_rows("lt le gt ge eq ne isnan isinf isfinite reciprocal", Fact(SamePlace(), exact=True)),
        *_rows("logical_not logical_and logical_or logical_xor", Fact(SamePlace(), exact=True)),
        *_rows("bitwise_not bitwise_and bitwise_or bitwise_xor", Fact(SamePlace(), exact=True)),
        *_rows("add sub rsub", Fact(SamePlace(), affine=("self other",), exact=True, finite=True)),
        *_rows("where", Fact(Chosen(("self", "other")), finite=True)),
        *_rows("complex", Fact(SamePlace(), affine=("real imag",))),
        *_rows("copy", Fact(Chosen(("src",)), affine=("self src",))),
        *_rows("masked_fill", Fact(Chosen(("self", "value")), finite=True)),
        *_rows("mul", Fact(SamePlace(), affine=("self", "other"), exact=True, finite=True)),
        *_rows("neg", Fact(SamePlace(), affine=_SELF, exact=True, finite=True)),
        *_rows("_conj conj_physical _neg_view", Fact(SamePlace(), affine=_SELF, finite=True)),
        *_rows("div", Fact(SamePlace(), affine=_SELF, divisor="other", exact=True)),
        *_rows("div.Tensor_mode div.Scalar_mode floor_divide remainder fmod", Fact(SamePlace(), divisor="other")),
        *_rows("addcmul", Fact(SamePlace(), affine=("self tensor1", "self tensor2"), finite=True)),
        *_rows("addcdiv", Fact(SamePlace(), affine=("self tensor1",))),
        *_rows("lerp", Fact(SamePlace(), affine=("self end", "weight"), finite=True)),
        *_rows("zeros_like ones_like full_like new_zeros new_ones new_full", Fact(ConstantFill())),
        *_rows("zeros ones full arange", Fact(Made())),
        *_rows("fill", Fact(ConstantFill(), affine=("value",))),
        *_rows("empty_like new_empty new_empty_strided", Fact(Unwritten())),
        # Entries at other places.
        *_rows("view _unsafe_view reshape _reshape_alias unsqueeze squeeze", Fact(Reshaped())),
        *_rows("view.dtype repeat_interleave.Tensor", Fact(Opaque())),
        *_rows("permute transpose t movedim", Fact(Permuted())),
        *_rows("select slice narrow", Fact(Cut())),
        *_rows("split split_with_sizes unsafe_split unsafe_split_with_sizes unbind chunk unsafe_chunk", Fact(Parts())),
        *_rows("expand", Fact(Expanded())),
        *_rows("tril triu", Fact(Triangle())),
        *_rows("flip roll rot90 repeat tile repeat_interleave diagonal unfold", Fact(Rearranged())),
        *_rows("pixel_shuffle pixel_unshuffle channel_shuffle", Fact(Rearranged())),
        *_rows(
            "reflection_pad1d reflection_pad2d reflection_pad3d upsample_nearest1d upsample_nearest2d",
            Fact(Rearranged()),
        ),
        *_rows("replication_pad1d replication_pad2d replication_pad3d upsample_nearest3d", Fact(Rearranged())),
        *_rows("slice_backward select_backward diagonal_backward diag_embed im2col", Fact(Spread())),
        *_rows("constant_pad_nd", Fact(Rearranged(fill="value"))),
        *_rows("cat stack", Fact(Joined())),
        *_rows("as_strided trace _fft_r2c _fft_c2c _fft_c2r", Fact(Opaque(), affine=_SELF)),
        *_rows("view_as_real", Fact(RealParts(), affine=_SELF, exact=True, finite=True)),
        *_rows("view_as_complex", Fact(FromParts(), affine=_SELF, exact=True, finite=True)),
        *_rows("as_strided_scatter", Fact(Opaque(), affine=("self src",))),
        # Along dimensions.
        *_rows("mean", Fact(Reduced(), affine=_SELF)),
        *_rows("sum", Fact(Reduced(), affine=_SELF, neutral=0)),
        *_rows("nansum count_nonzero linalg_vector_norm", Fact(Reduced(), neutral=0)),
        *_rows("any _is_any_true", Fact(Reduced(), neutral=0, exact=True)),
        *_rows("prod", Fact(Reduced(), neutral=1)),
        *_rows("all _is_all_true", Fact(Reduced(), neutral=1, exact=True)),
        *_rows("amax max.default", Fact(Reduced(), neutral=-inf, exact=True)),
        *_rows("amin min.default", Fact(Reduced(), neutral=inf, exact=True)),
        *_rows("argmax max", Fact(Reduced(), neutral=-inf)),
        *_rows("argmin min", Fact(Reduced(), neutral=inf)),
        *_rows("aminmax var std var_mean std_mean median nanmedian mode norm sort argsort topk", Fact(Reduced())),
        *_rows("kthvalue _softmax_backward_data _log_softmax_backward_data glu", Fact(Reduced())),
        *_rows("max.other min.other", Fact(SamePlace())),
        *_rows("_softmax _safe_softmax softmax", Fact(Softmax(), range=(0.0, 1.0), neutral=-inf)),
        *_rows("_log_softmax log_softmax logsumexp", Fact(Softmax(), neutral=-inf)),
        *_rows("cumsum", Fact(Cumulative(), affine=_SELF)),
        *_rows("cumprod cummax cummin logcumsumexp _cummax_helper", Fact(Cumulative())),
        *_rows("native_layer_norm _fused_rms_norm", Fact(LayerNorm(), affine=("weight bias",))),
        *_rows("native_group_norm", Fact(GroupNorm(), apart=1, affine=("weight bias",))),
        *_rows("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training", Fact(BatchNorm())),
        *_rows("cudnn_batch_norm _native_batch_norm_legit_functional", Fact(BatchNorm())),
        # Windows.
        *_rows("convolution", Fact(Convolution(), apart=1, affine=("input bias", "weight bias"))),
        *_rows("avg_pool1d", Fact(Pool(1), apart=2, affine=_SELF)),
        *_rows("avg_pool2d", Fact(Pool(2), apart=2, affine=_SELF)),
        *_rows("avg_pool3d", Fact(Pool(3), apart=2, affine=_SELF)),
        *_rows("max_pool1d max_pool1d_with_indices", Fact(Pool(1), apart=2)),
        *_rows("max_pool2d max_pool2d_with_indices", Fact(Pool(2), apart=2)),
        *_rows("max_pool3d max_pool3d_with_indices", Fact(Pool(3), apart=2)),
        *_rows("_adaptive_avg_pool2d _adaptive_avg_pool3d upsample_linear1d", Fact(Opaque(2), affine=_SELF)),
        *_rows("upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d", Fact(Opaque(2), affine=_SELF)),
        # Products.
        *_rows("mm bmm", Fact(Product("self", "mat2"))),
        *_rows("mv", Fact(Product("self", "vec"))),
        *_rows("dot", Fact(Product("self", "tensor"))),
        *_rows("addmm", Fact(Product("mat1", "mat2", "self"))),
        *_rows("addmv", Fact(Product("mat", "vec", "self"))),
        *_rows("baddbmm", Fact(Product("batch1", "batch2", "self"))),
        *_rows("addbmm", Fact(Opaque(), affine=("self batch1", "self batch2"))),
        *_rows("linear", Fact(Opaque(), affine=("input bias", "weight bias"))),
        *_rows("scaled_dot_product_attention _scaled_dot_product_attention_math", Fact(Attention(), affine=("value",))),
        *_rows("_scaled_dot_product_flash_attention_for_cpu", Fact(Attention(), affine=("value",))),
        *_rows("_scaled_dot_product_flash_attention", Fact(Attention(), affine=("value",))),
        *_rows("_scaled_dot_product_efficient_attention", Fact(Attention(), affine=("value",))),
        *_rows("_scaled_dot_product_cudnn_attention", Fact(Attention(), affine=("value",))),
        *_rows("_native_multi_head_attention _transformer_encoder_layer_fwd", Fact(AttentionLayer(), apart=1)),
        *_rows("mkldnn_rnn_layer", Fact(Recurrence())),
        # Places that are values.
        *_rows("embedding", Fact(LookUp(), affine=("weight",))),
        *_rows("index_select", Fact(Selected(), affine=_SELF)),
        *_rows("gather", Fact(Gathered(), affine=_SELF)),
        *_rows("index _unsafe_index", Fact(Indexed(), affine=_SELF)),
        *_rows("select_scatter slice_scatter diagonal_scatter", Fact(Placed(), affine=("self src",))),
        *_rows("index_copy", Fact(Copied("source"), affine=("self source",))),
        *_rows("index_fill", Fact(Copied("value"), affine=("self value",))),
        *_rows("index_add", Fact(SlicesAdded(), affine=("self source",))),
        *_rows("scatter scatter_add", Fact(Scattered(), affine=("self src value",))),
        *_rows("scatter.reduce scatter.value_reduce scatter_reduce", Fact(Scattered())),
        *_rows("index_put _unsafe_index_put", Fact(Put(), affine=("self values",))),
    ]
)
