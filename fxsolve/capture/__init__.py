"""Capture: one recorded run of an unmodified PyTorch program becomes a functional ATen graph.

`capture` is the way through it: `record` runs the program once and writes down its ATen calls, those of its backward
pass behind them; `functional` makes of that a graph that writes into nothing; `program` is the result, `verify` its
law. `state` knows the places where Python keeps what outlives a call, `randomness` the generators, `backward` the
graph that autograd keeps.
"""
