"""What tools/size.py counts as a table of ops."""

import ast

import pytest
import size


@pytest.mark.parametrize(
    ("value", "ops"),
    [
        ("{aten.add.Tensor: f, aten.sub.Tensor: f}", {"add", "sub"}),
        ("frozenset({torch.ops.aten.add.Tensor, aten.add.Scalar})", {"add"}),
        ('{"add": f, "sub": f}', {"add", "sub"}),
        ('{"add": f, "no op of this name": f}', set()),
        ('Literal["full", "diag"]', set()),
        ("{**dict.fromkeys((aten.mm.default, aten.bmm.default), f)}", {"mm", "bmm"}),
    ],
)
def test_ops_are_named_as_attributes_or_as_words(value: str, ops: set[str]) -> None:
    assert size.named_ops(ast.parse(value, mode="eval").body) == ops
