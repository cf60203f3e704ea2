"""The graph that autograd keeps of a run: where backward passes end, and which ways lead through it."""
