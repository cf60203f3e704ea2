"""Numbers that a program reads from tensors and computes with in Python, followed as tensors.

    error = (x - y).abs().max().item()      # a `Float`, which holds the number and a 0-d tensor of it on the CPU
    if error < 1e-4 * size:                 # the comparison is recorded, and guarded by its outcome
    w = w / float(norm)                     # a call that reads the tensor

Python computes with real numbers in double precision, as torch does with tensors of float64, so both are the same to
the last bit; that is checked for every result. Where a number goes elsewhere, into a format string, a shape or a call
that is not known here, it is the number that was read, and guarded as one.

- `values` are the numbers, with the operators of Python's.
- `watch` is the mode that makes them where a program reads a tensor, and hands them to calls of torch.
- `builtins` lets `float`, `int` and a few functions of `math` take part, which no mode sees.
"""
