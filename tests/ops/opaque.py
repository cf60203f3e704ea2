"""Which ops of a recorded program have no row in the table of facts, and none of torch's tags in its place."""

from fxsolve.capture.program import Program
from fxsolve.ops.access import Opaque
from fxsolve.ops.facts import FACTS, Fact, fact_of, name_of
from fxsolve.torch_compat.operators import OpOverload
from tests.goldens import GOLDEN

TABLE, THIRD_PARTY = "rows/missing_in_the_table", "rows/missing_elsewhere"


def without_a_row(program: Program) -> set[str]:
    """The names of ops that read tensors of which nothing is known."""
    nodes = program.module.graph.nodes
    targets = {node.target for node in nodes if isinstance(node.target, OpOverload) and node.all_input_nodes}
    return {name_of(target) for target in targets if fact_of(target, FACTS) == Fact(Opaque())} - FACTS.keys()


def check_known(program: Program) -> None:
    """No op of a program is without a row but those that are listed; the lists may only become shorter."""
    kept = {name for file in (TABLE, THIRD_PARTY) for name in (GOLDEN / f"{file}.txt").read_text().split()}
    new = without_a_row(program) - kept
    assert not new, f"without a row in fxsolve/ops/facts.py: {', '.join(sorted(new))}"
