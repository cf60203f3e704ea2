"""What is known of each ATen op, once: the table that every domain reads. An op without a row is opaque.

To add an op, add its name to a row; all of its overloads share the row.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from fxsolve.ops.access import (
    Access,
    Attention,
    AttentionLayer,
    BatchNorm,
    ConstantFill,
    Convolution,
    Copied,
    Cumulative,
    Gathered,
    GroupNorm,
    Indexed,
    Joined,
    LayerNorm,
    LookUp,
    Opaque,
    Placed,
    Pool,
    Product,
    Put,
    Rearranged,
    Recurrence,
    Reduced,
    SamePlace,
    Scattered,
    Selected,
    Softmax,
)
from fxsolve.ops.call import name_of
from fxsolve.torch_compat.operators import OpOverload


@dataclass(frozen=True)
class Fact:
    """`access` tells what an entry reads; where that cannot be followed, the first `apart` dimensions stay apart."""

    access: Access
    apart: int = 0


def fact_of(target: OpOverload) -> Fact:
    """The row of an op."""
    known = FACTS.get(name_of(target))
    if known is not None:
        return known
    return Fact(SamePlace() if torch.Tag.pointwise in target.tags else Opaque())


def _rows(names: str, access: Access, apart: int = 0) -> Iterable[tuple[str, Fact]]:
    return ((name, Fact(access, apart)) for name in names.split())


FACTS: Mapping[str, Fact] = dict(
    [
        # Pointwise without a tag that says so.
        *_rows("_to_copy clone alias detach contiguous lift_fresh_copy copy hardtanh_backward", SamePlace()),
        *_rows("floor_divide masked_fill where _prelu_kernel dropout feature_dropout alpha_dropout", SamePlace()),
        *_rows("zeros_like ones_like full_like new_zeros new_ones new_full fill", ConstantFill()),
        # Entries at other places.
        *_rows(
            "view _unsafe_view reshape _reshape_alias permute transpose t movedim select slice narrow", Rearranged()
        ),
        *_rows("expand unsqueeze squeeze split split_with_sizes unsafe_split unsafe_split_with_sizes", Rearranged()),
        *_rows("unbind chunk unsafe_chunk flip roll rot90 repeat tile repeat_interleave diagonal unfold", Rearranged()),
        *_rows("tril triu diag_embed pixel_shuffle pixel_unshuffle channel_shuffle im2col", Rearranged()),
        *_rows(
            "reflection_pad1d reflection_pad2d reflection_pad3d upsample_nearest1d upsample_nearest2d", Rearranged()
        ),
        *_rows("replication_pad1d replication_pad2d replication_pad3d upsample_nearest3d", Rearranged()),
        *_rows("slice_backward select_backward diagonal_backward", Rearranged()),
        *_rows("constant_pad_nd", Rearranged(fill="value")),
        *_rows("cat stack", Joined()),
        # Along dimensions.
        *_rows("sum nansum mean amax amin aminmax argmax argmin prod any all var std var_mean std_mean", Reduced()),
        *_rows("max min median nanmedian mode linalg_vector_norm norm count_nonzero sort argsort topk", Reduced()),
        *_rows("kthvalue _softmax_backward_data _log_softmax_backward_data glu", Reduced()),
        *_rows("_softmax _log_softmax _safe_softmax softmax log_softmax logsumexp", Softmax()),
        *_rows("cumsum cumprod cummax cummin logcumsumexp _cummax_helper", Cumulative()),
        *_rows("native_layer_norm _fused_rms_norm", LayerNorm()),
        *_rows("native_group_norm", GroupNorm(), apart=1),
        *_rows("native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training", BatchNorm()),
        *_rows("cudnn_batch_norm", BatchNorm()),
        # Windows.
        *_rows("convolution", Convolution(), apart=1),
        *_rows("avg_pool1d max_pool1d max_pool1d_with_indices", Pool(1), apart=2),
        *_rows("avg_pool2d max_pool2d max_pool2d_with_indices", Pool(2), apart=2),
        *_rows("avg_pool3d max_pool3d max_pool3d_with_indices", Pool(3), apart=2),
        *_rows("_adaptive_avg_pool2d _adaptive_avg_pool3d upsample_linear1d upsample_bilinear2d", Opaque(2)),
        *_rows("upsample_bicubic2d upsample_trilinear3d", Opaque(2)),
        # Products.
        *_rows("mm bmm", Product("self", "mat2")),
        *_rows("addmm", Product("mat1", "mat2", "self")),
        *_rows("baddbmm", Product("batch1", "batch2", "self")),
        *_rows("scaled_dot_product_attention _scaled_dot_product_attention_math", Attention()),
        *_rows("_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention", Attention()),
        *_rows("_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention", Attention()),
        *_rows("_native_multi_head_attention _transformer_encoder_layer_fwd", AttentionLayer(), apart=1),
        *_rows("mkldnn_rnn_layer", Recurrence()),
        # Places that are values.
        *_rows("embedding", LookUp()),
        *_rows("index_select", Selected()),
        *_rows("gather", Gathered()),
        *_rows("index _unsafe_index", Indexed()),
        *_rows("select_scatter slice_scatter diagonal_scatter", Placed()),
        *_rows("index_copy", Copied("source")),
        *_rows("index_fill", Copied("value")),
        *_rows("scatter scatter_add scatter_reduce", Scattered()),
        *_rows("index_put _unsafe_index_put", Put()),
    ]
)
