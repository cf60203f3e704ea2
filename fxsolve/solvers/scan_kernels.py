"""The blocked scan as Triton kernels: composed, carried and run again, with three launches whatever T is.

Products of matrices are sums of elementwise products, so that no tensor core rounds them to TF32 or bfloat16.
A carry that overflowed only as a product is run again in order inside the kernel, without a word to the host.
Importing this module needs Triton.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

_LANES = tl.constexpr(128)


def scan_diagonal_kernel(a: Tensor, b: Tensor) -> Tensor:
    """d_t = a_t d_{t-1} + b_t, d_0 = b_0, for real a and b (T, N) on one device."""
    a, b = a.contiguous(), b.contiguous()
    T, N = b.shape
    chunk = math.ceil(math.sqrt(T))
    count = math.ceil(T / chunk)
    products, carries = b.new_empty(count, N), b.new_zeros(count, N)
    result = torch.empty_like(b)
    everywhere = (math.ceil(count * N / _LANES.value),)
    _compose_diagonal[everywhere](a, b, products, carries, T, N, chunk, count, LANES=_LANES)
    _carry_diagonal[(math.ceil(N / _LANES.value),)](a, b, products, carries, N, chunk, count, LANES=_LANES)
    _run_diagonal[everywhere](a, b, carries, result, T, N, chunk, count, LANES=_LANES)
    return result


def scan_dense_kernel(a: Tensor, b: Tensor) -> Tensor:
    """d_t = A_t d_{t-1} + b_t, d_0 = b_0, for real a (T, N, n, n) and b (T, N, n) on one device, n <= 16."""
    a, b = a.contiguous(), b.contiguous()
    T, N, n = b.shape
    chunk = math.ceil(math.sqrt(T))
    count = math.ceil(T / chunk)
    products, carries = b.new_empty(count, N, n, n), b.new_zeros(count, N, n)
    result = torch.empty_like(b)
    size = triton.next_power_of_2(n)
    _compose_dense[(count * N,)](a, b, products, carries, T, N, n, chunk, SIZE=size)
    _carry_dense[(N,)](a, b, products, carries, N, n, chunk, count, SIZE=size)
    _run_dense[(count * N,)](a, b, carries, result, T, N, n, chunk, SIZE=size)
    return result


@triton.jit
def _wide(number):
    """An integer in 64 bits: T * N entries may be more than 32 bits count."""
    return tl.full((), 0, tl.int64) + number


@triton.jit
def _is_finite(x):
    return tl.abs(x) < float("inf")


@triton.jit
def _compose_diagonal(a, b, products, locals_, T, N, chunk, count, LANES: tl.constexpr):
    """One lane is one chunk of one entry: its steps as one map. `locals_` ends with what `b` alone gives."""
    N = _wide(N)
    lane = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    inside = lane < count * N
    at = (lane // N) * chunk * N + lane % N
    product = tl.load(a + at, mask=inside, other=0.0)
    local = tl.load(b + at, mask=inside, other=0.0)
    for t in range(1, chunk):
        live = inside & ((lane // N) * chunk + t < T)
        factor = tl.load(a + at + t * N, mask=live, other=1.0)
        product = product * factor
        local = factor * local + tl.load(b + at + t * N, mask=live, other=0.0)
    tl.store(products + lane, product, mask=inside)
    tl.store(locals_ + lane, local, mask=inside)


@triton.jit
def _carry_diagonal(a, b, products, carries, N, chunk, count, LANES: tl.constexpr):
    """Turn what each chunk gives alone into the state after it, in order over the chunks but the last."""
    N = _wide(N)
    entry = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    inside = entry < N
    state = tl.load(carries + entry, mask=inside, other=0.0)
    for number in range(1, count - 1):
        at = number * N + entry
        product = tl.load(products + at, mask=inside, other=0.0)
        new = product * state + tl.load(carries + at, mask=inside, other=0.0)
        lost = _is_finite(state) & (_is_finite(new) == 0)
        if tl.max(lost.to(tl.int32), 0) > 0:
            exact = state
            for t in range(chunk):
                place = (number * chunk + t) * N + entry
                factor = tl.load(a + place, mask=inside, other=0.0)
                exact = factor * exact + tl.load(b + place, mask=inside, other=0.0)
            new = tl.where(lost, exact, new)
        tl.store(carries + at, new, mask=inside)
        state = new


@triton.jit
def _run_diagonal(a, b, carries, result, T, N, chunk, count, LANES: tl.constexpr):
    """Run each chunk from the state before it; the first one from b_0, whatever a_0 holds."""
    N = _wide(N)
    lane = tl.program_id(0).to(tl.int64) * LANES + tl.arange(0, LANES)
    inside = lane < count * N
    later = inside & (lane >= N)
    at = (lane // N) * chunk * N + lane % N
    state = tl.load(carries + lane - N, mask=later, other=0.0)
    for t in range(chunk):
        live = inside & ((lane // N) * chunk + t < T)
        factor = tl.load(a + at + t * N, mask=live & (later | (t > 0)), other=0.0)
        state = factor * state + tl.load(b + at + t * N, mask=live, other=0.0)
        tl.store(result + at + t * N, state, mask=live)


@triton.jit
def _apply(matrix, at, n, state, SIZE: tl.constexpr):
    """The matrix that starts at entry `at`, times a vector."""
    row, column = tl.arange(0, SIZE)[:, None], tl.arange(0, SIZE)[None, :]
    inside = (row < n) & (column < n)
    values = tl.load(matrix + at * n * n + row * n + column, mask=inside, other=0.0)
    return tl.sum(values * state[None, :], axis=1)


@triton.jit
def _compose_dense(a, b, products, locals_, T, N, n, chunk, SIZE: tl.constexpr):
    """One program is one chunk of one block: its steps as one map."""
    N = _wide(N)
    lane = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, SIZE)
    entries = i[:, None] * n + i[None, :]
    inside = (i[:, None] < n) & (i[None, :] < n)
    start = (lane // N) * chunk
    at = start * N + lane % N
    # Held transposed: Triton makes a TF32 dot of a sum over the middle of (i, k, j), and not of one over the end.
    product = tl.trans(tl.load(a + at * n * n + entries, mask=inside, other=0.0))
    local = tl.load(b + at * n + i, mask=i < n, other=0.0)
    for t in range(1, tl.minimum(chunk, T - start)):
        now = at + t * N
        factor = tl.load(a + now * n * n + entries, mask=inside, other=0.0)
        product = tl.sum(product[:, None, :] * factor[None, :, :], axis=2)
        local = tl.sum(factor * local[None, :], axis=1) + tl.load(b + now * n + i, mask=i < n, other=0.0)
    tl.store(products + lane * n * n + entries, tl.trans(product), mask=inside)
    tl.store(locals_ + lane * n + i, local, mask=i < n)


@triton.jit
def _carry_dense(a, b, products, carries, N, n, chunk, count, SIZE: tl.constexpr):
    """Turn what each chunk gives alone into the state after it, in order over the chunks but the last."""
    N = _wide(N)
    block = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, SIZE)
    state = tl.load(carries + block * n + i, mask=i < n, other=0.0)
    for number in range(1, count - 1):
        lane = number * N + block
        new = _apply(products, lane, n, state, SIZE) + tl.load(carries + lane * n + i, mask=i < n, other=0.0)
        lost = _is_finite(state) & (_is_finite(new) == 0)
        if tl.max(lost.to(tl.int32), 0) > 0:
            exact = state
            for t in range(chunk):
                now = (number * chunk + t) * N + block
                exact = _apply(a, now, n, exact, SIZE) + tl.load(b + now * n + i, mask=i < n, other=0.0)
            new = tl.where(lost, exact, new)
        tl.store(carries + lane * n + i, new, mask=i < n)
        state = new


@triton.jit
def _run_dense(a, b, carries, result, T, N, n, chunk, SIZE: tl.constexpr):
    """Run each chunk from the state before it; the first one from b_0, whatever A_0 holds."""
    N = _wide(N)
    lane = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, SIZE)
    start = (lane // N) * chunk
    at = start * N + lane % N
    state = tl.load(b + at * n + i, mask=i < n, other=0.0)
    if lane >= N:
        before = tl.load(carries + (lane - N) * n + i, mask=i < n, other=0.0)
        state = _apply(a, at, n, before, SIZE) + state
    tl.store(result + at * n + i, state, mask=i < n)
    for t in range(1, tl.minimum(chunk, T - start)):
        now = at + t * N
        state = _apply(a, now, n, state, SIZE) + tl.load(b + now * n + i, mask=i < n, other=0.0)
        tl.store(result + now * n + i, state, mask=i < n)
