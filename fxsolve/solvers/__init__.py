"""Numerical run time of emitted modules: loops, sweeps and stop tests, on torch alone.

In come a `Loop` (the body of a step or of a sweep, and what it carries) and its tensors, out come the stacks of all
steps (T, ...), the last values and the final buffers; `observe` (`solution`) collects how each solve went.

- in order: `gauss_seidel`, compiled steps (`fuse`), loops that reach a fixed point (`fixed_point`), loops that stop on
  a value (`until`, and `ahead` with compiled steps) and those along them (`along`);
- iterations S <- F(S + solve(A, F(S) - S)) over the windows of a loop: `jacobi`, `jacobi_gs`, `sliding`, `by_sample`,
  `picard` and `newton`, all by the one driver in `iterate`, which finishes in order what a method leaves unsolved;
- the same sweeps over blocks that are not alike: `blocks`;
- each entry once, in a `step_order`: `incremental`, and `lookahead`, in a window that slides;
- exact in one pass: `levels`, and `scan` by the forms of an affine scan (`affine_scan`, `blocked_scan`,
  `cyclic_reduction`, the kernels in `scan_kernels`).

`stop` has the tests, `certify` puts a solution into its equations again, `guard` compares what a program read.
To add an iteration, write the A of its update as a `Method` of `iterate`; a direct solve is a function of a `Loop`.
"""
