"""The methods that solve a repeat, one file each."""

from fxsolve.plan.method import Method
from fxsolve.plan.methods.jacobi import Jacobi
from fxsolve.plan.methods.levels import Levels
from fxsolve.plan.methods.newton import Newton
from fxsolve.plan.methods.picard import Picard
from fxsolve.plan.methods.scan import Scan

Methods = tuple[type[Method], ...]
METHODS: Methods = (Jacobi, Newton, Picard, Scan, Levels)
