"""Rows: columns, slices and whole buffers that are written step by step, and tensors that grow."""

import torch
from torch import Tensor

from tests.table.row import SEQUENCE, B, N, T, row, rows_of, tensors


@row(tensors((B, T)), "5: lag 1, slices")
def columns_then_stack(x: Tensor):
    columns = [x[:, 0]]
    for i in range(1, T):
        columns.append(torch.sin(columns[i - 1]) + x[:, i])
    return torch.stack(columns, dim=1)


@row(tensors((B, T), (T, T)), "6: prefix, slices")
def columns_padded_and_stacked_at_every_step(z: Tensor, w: Tensor):
    """The inverse of an autoregressive layer that knows nothing of the columns to come."""
    columns: list[Tensor] = []
    for i in range(T):
        known = torch.stack(columns + [torch.zeros_like(z[:, 0])] * (T - i), 1)
        columns.append(z[:, i] + torch.tanh(known @ w[:, i]))
    return torch.stack(columns, 1)


@row(tensors((B, T), (T, T)), "6: invariant, lag 1")
def whole_vector_sweeps(z: Tensor, w: Tensor):
    x = torch.zeros_like(z)
    for _ in range(T):
        x = z + torch.tanh(x @ torch.triu(w, 1))
    return x


@row(tensors((B, T), (T, T)), "6: invariant, prefix, table")
def column_of_a_whole_vector_kept(z: Tensor, w: Tensor):
    x = torch.zeros_like(z)
    for i in range(T):
        x[:, i] = (z + torch.tanh(x @ torch.triu(w, 1)))[:, i]
    return x


@row(SEQUENCE, "5: lag 1, slices")
def slice_written(x: Tensor):
    y = torch.zeros_like(x)
    for t in range(1, T):
        y[t : t + 1] = torch.tanh(y[t - 1 : t] + x[t : t + 1])
    return y


@row(SEQUENCE, "6: lag 1, slices")
def buffer_only_written(x: Tensor):
    h, y = torch.zeros_like(x[0]), x.new_empty(B, N, T)
    for t in range(T):
        h = torch.tanh(h + x[t])
        y[..., t] = h
    return y


@row(tensors((B, N, 3, 4)), "12: invariant, prefix, table")
def pixels_written(x: Tensor):
    y = torch.zeros_like(x)
    for i in range(3):
        for j in range(4):
            y[:, :, i, j] = torch.tanh(y.sum((2, 3)) + x[:, :, i, j])
    return y


@row(tensors((B, T + 3)), "6: lag 1, slices, stacked", affine=1)
def read_by_windows(x: Tensor):
    """An autoregressive filter of the last three entries."""
    y = torch.zeros_like(x)
    for t in range(3, T + 3):
        y[:, t] = x[:, t] + y[:, t - 3 : t].flip(1) @ x.new_tensor([0.5, -0.3, 0.1])
    return y


@row(SEQUENCE, "5: lag 1, slices")
def index_copied(x: Tensor):
    y = torch.zeros_like(x)
    for t in range(1, T):
        y = y.index_copy(0, torch.tensor([t]), torch.tanh(y[t - 1] + x[t])[None])
    return y


@row(SEQUENCE, "5: lag 1, slices")
def scattered(x: Tensor):
    y = torch.zeros_like(x)
    for t in range(1, T):
        place = torch.full((1, B, N), t)
        y = y.scatter(0, place, torch.tanh(y[t - 1] + x[t])[None])
    return y


@row(SEQUENCE, "5: lag 1, slices")
def grown_and_read_at_its_end(x: Tensor):
    y = x[:1]
    for t in range(1, T):
        y = torch.cat([y, torch.tanh(y[-1:] + x[t : t + 1])])
    return y


@row(SEQUENCE, "5: invariant, table", "5: prefix, slices", tolerance=1e-12)
def grown_and_read_whole(x: Tensor):
    y = x[:1]
    for t in range(1, T):
        weights = torch.softmax((y * x[t]).sum(-1), 0)
        y = torch.cat([y, (weights[..., None] * y).sum(0, keepdim=True)])
    return y


@row(tensors((5, 5)), "4: invariant, prefix, table", "3: invariant, prefix, table")
def factor_of_cholesky(a: Tensor):
    """The rows of a column depend on its diagonal, and each column on the ones before it."""
    a = a @ a.t() + torch.eye(5).double()
    L = torch.zeros_like(a)
    for j in range(5):
        L[j, j] = (a[j, j] - (L[j, :j] ** 2).sum()).sqrt()
        for i in range(j + 1, 5):
            L[i, j] = (a[i, j] - (L[i, :j] * L[j, :j]).sum()) / L[j, j]
    return L


ROWS = rows_of(globals())
