"""The methods that solve a repeat: one file each, with node and text, what it requires, its price and its lowering.

    jacobi       sweep all steps at once, in windows, over chunks, with fewer and fewer samples
    incremental  in order, each entry of each value once; then swept
    newton       linearize all steps, solve the linear recurrence by a scan, repeat
    scan         solve an affine recurrence at once
    picard       sum the increments of all steps, repeat
    levels       as many sweeps as steps are deep
    sums         add up at once what is only added up
    fixed_point  in order, until a step changes nothing
    fused        in order, several steps in one compiled call
    stopping     in order, until a step reads the value that stops them

Steps without a method run in order; `lower.lower` is the only caller of a method's `lower`. What comes in is a repeat
and the leaves of a schedule that name it, what goes out a `Solver`, which runs on tensors or adds itself to a graph.

**To add a method**, write two files, and name it in `METHODS`:

1. `solvers/damped.py`, on torch alone: the function that emitted modules call,
   `damped(loop, initial, buffers, per_step, shared, *options)`. For an iteration, subclass `iterate.Method` (init,
   step, terminate) and hand it to `solve_windows`: stopping, finishing in order and certificates are done there.
2. `plan/methods/damped.py`: a frozen dataclass

       class Damped(Iterative, Priced):
           name = "damped"                     # damped(cell[0:784], atol=1e-06, rtol=0)
           requires = (CAUSAL, BATCHED)        # facts by name, from `proofs` or a new one
           child: Steps
           stop: Stop | None = None
           def price(cls, situation, weighed)  # trials for an automatic choice; without `Priced`, by name alone
           def lower(self, repeat, parts, stop):
               bounds = window_bounds(parts)
               options = (*strictest(repeat, parts, stop), short(bounds))
               return LoopSolver(repeat, damped, sweep_loop(repeat, bounds), options)

   `Refined` is for options that are worth trying once the method is the best of all; `check` refuses options that make
   no sense, `settle` fills in what is proved last (the depth of levels).

**To add an option**, touch these two and the test: a field with a default and an `Option(name, read, write)` in
`options` of the node, one more argument of the function. Parsing, printing, the round trip and reports follow.

Nothing registers itself: `stages.schedule(..., methods=(*METHODS, Damped))` hands a set down to the parser and to the
automatic choice. `tests/plan/test_methods.py` adds this method, and an option `omega` of it, from outside.
"""

from fxsolve.plan.method import MethodNode
from fxsolve.plan.methods.fixed_point import FixedPoint
from fxsolve.plan.methods.fused import Fused
from fxsolve.plan.methods.incremental import Incremental
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.levels import Levels
from fxsolve.plan.methods.newton import Newton
from fxsolve.plan.methods.picard import Picard
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.methods.stopping import While
from fxsolve.plan.methods.sums import Sum

Methods = tuple[type[MethodNode], ...]
METHODS: Methods = (Jacobi, Incremental, Newton, Scan, Picard, Levels, Sum, FixedPoint, Fused, While)
