"""Capture: one recorded run of an unmodified PyTorch program becomes a functional ATen graph.

`capture` is the way through it: `record` runs the program once and writes down its ATen calls, those of its backward
pass behind them; `functional` makes of that a graph that writes into nothing; `program` is the result, `verify` its
law. `effects` says what a run leaves behind, in the terms of the package `fxsolve.state`, and `backward` knows the
graph that autograd keeps.
"""
