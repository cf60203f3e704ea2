"""The methods that solve a repeat, one file each."""

from fxsolve.plan.method import Method
from fxsolve.plan.methods.fixed_point import FixedPoint
from fxsolve.plan.methods.fused import Fused
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.levels import Levels
from fxsolve.plan.methods.newton import Newton
from fxsolve.plan.methods.picard import Picard
from fxsolve.plan.methods.scan import Scan
from fxsolve.plan.methods.sums import Sum

Methods = tuple[type[Method], ...]
METHODS: Methods = (Jacobi, Newton, Picard, Scan, Levels, Sum, FixedPoint, Fused)
