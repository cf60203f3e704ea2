"""Repeats as graphs and loops that solvers run.

In comes a repeat, out comes what a solver takes: the loop of its steps or of sweeps over windows of them (`lower`),
and the tensors of a call (`arguments`). `batch` makes the body for many steps at once by vmap, ahead of time, with
`entries` and `numbers` for Python numbers that change with the step; `linearize` adds the Jacobians of all steps,
`unroll` puts several steps into one graph, `ahead` those of a loop that stops on a value, `fewer_samples` leaves out
samples of the batch. `readable` names torch's functions instead of ATen's, `held_numbers` makes tensors of the numbers
beside tensors.
"""
