"""What is known of ATen ops, and how it is followed through a graph.

In comes a graph of ATen calls with abstract values for its inputs; out come abstract values for its results.

- `access` names the forms in which results read arguments.
- `facts` is the one table: of each op its access, in which arguments it is affine, between which ends its results lie,
  what is neutral to it, by what it divides. The table is a value that is handed down; nothing changes it.
- `call` binds a call to the schema of its op, and gives it its row.
- `origins` tells which arguments the entries of results are taken from, where nothing is computed.
- `interpret` walks a graph and asks a domain about every call whose arguments are not all ordinary.
- `domains` are what is followed: `dependence` (of which steps, or samples, an entry may depend, and which zeros and
  masks hide some), `affine` (which values are affine in what a step carries), `interval` (between which ends values
  lie). Growing loops ask the table too, for buffers whose entries are not all valid (`loops/padding`), and so do
  sums over steps (`rewrite/sums/contract`).

To add an op, add one row:

    "linalg_cross": Fact(Reduced(), affine=("self", "other"))

An op without a row is opaque: every entry of its results reads every entry of its arguments, which holds of every op.
The ops of all recorded programs that have none are listed in `tests/golden/rows`; the lists may only become shorter.

To add the op of another library, tell torch what it is: one with a kernel for `CompositeImplicitAutograd` is recorded
as the ops that it calls, and one with the tag `pointwise` needs no row (but `register_vmap`, to be batched). Any other
needs its row, which is handed down, and believed:

    fxsolve.schedule(program, parts, facts={**FACTS, "mylib::running": Fact(Cumulative(), affine=("x",))})

Causality and affine steps are proved by it. The layout of Jacobians is not: lowering finds that by the package's own
rows. `tests/ops/test_rows.py` and `tests/ops/test_outside.py` add such ops and rows from outside.

To add a form of access, add a class to `access`, and a rule for it to the domains that can say more of it than of an
opaque op. To add a domain, write what it knows of a value and `transfer` over the forms of access; overrides for single
ops are for what no row can tell, and few.
"""
