"""What is known of ATen ops, and how it is followed through a graph.

In comes a graph of ATen calls with abstract values for its inputs, out come abstract values for its results.

- `access` names the forms in which results read arguments, `facts` gives each op its row: one table for all domains.
- `call` binds a call to the schema of its op; `interpret` walks a graph and asks a domain about every call.
- `domains` are such domains: `dependence` tells which steps an entry may depend on, with the zeros that hide some.

To add an op, add its name to a row of `facts`. To add a form of access, add a class to `access` and a rule for it to
each domain; a domain without that rule takes the op for opaque, which is always sound.
"""
