"""Solve a repeat that only adds up at once: acc_T = acc_0 + sum over t of v_t.

What a step adds is contracted with the sum where possible (`contract`): the gradient of a weight, one matrix product
per step, is one product of all steps. Terms that cannot be are computed for all steps together, and summed. Integer
sums are exact; others may differ by the rounding of additions made in another order.
"""

import string
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import fx

from fxsolve.ir.ancestors import ancestors
from fxsolve.ir.bodies import OpenRepeat, close_repeat, open_repeat
from fxsolve.ir.builder import BlockBuilder, add_call
from fxsolve.ir.spec import Equation, Invariant, LastStep, Repeat, Slices, Table
from fxsolve.ir.steps import slice_steps
from fxsolve.ir.strides import stacked
from fxsolve.rewrite.sums.accumulate import Accumulator, Term, accumulators
from fxsolve.rewrite.sums.contract import Contraction, Factor, contract
from fxsolve.rewrite.sums.scatter_sum import place, placed_factors
from fxsolve.torch_compat.graphs import Graph

aten = torch.ops.aten
_STEP = -1  # the label of the steps


def is_sum(repeat: Repeat) -> bool:
    """Whether all that a repeat does is to add up values that depend on no earlier step."""
    if not all(isinstance(write, LastStep) for write in repeat.writes):
        return False  # most are told so, and need not be opened
    opened = open_repeat(repeat)
    found = accumulators(opened)
    return bool(found) and len(found) == len(opened.feeds)


def fold_sums(repeat: Repeat) -> list[Equation]:
    """The equations that replace a repeat for which `is_sum` holds: its terms, without a carry, and their sums."""
    opened = open_repeat(repeat)
    found = accumulators(opened)
    fold = _Fold(opened, BlockBuilder(f"{repeat.name}_totals"))
    totals = {one.result: fold.total(one) for one in found}
    fold.builder.outputs.update({name: totals[node] for name, node in opened.lasts.items()})
    return [*fold.terms(), *fold.builder.build()]


@dataclass
class _Fold:
    """Builds the block of the sums, and collects the values that it needs of all steps."""

    opened: OpenRepeat
    builder: BlockBuilder
    wanted: dict[str, fx.Node] = field(default_factory=dict)
    stacks: dict[fx.Node, fx.Node] = field(default_factory=dict)

    def total(self, one: Accumulator) -> fx.Node:
        total = self.builder.read(one.read.initial[0], one.carry.meta["spec"])
        for term in one.terms:
            total = self.builder.call(aten.add.Tensor, total, self._sum(term, one))
        return total

    def terms(self) -> list[Equation]:
        """The repeat, without a carry, of the values that are not read from elsewhere."""
        if not self.wanted:
            return []
        part = OpenRepeat(f"{self.opened.name}_terms", self.opened.length, self.opened.source, Graph())
        used = ancestors(self.wanted.values())
        reads = {
            node: part.add_read(node.name, read, node.meta.get("spec"))
            for node, read in self.opened.reads.items()
            if node in used
        }
        copied = self.opened.copy_calls(used, part.graph, reads)
        part.steps.update({name: copied[node] for name, node in self.wanted.items()})
        return [close_repeat(part)]

    def _sum(self, term: Term, one: Accumulator) -> Any:
        """The sum of one term over all steps."""
        value = term.value
        read = self.opened.reads.get(value) if isinstance(value, fx.Node) else None
        if isinstance(read, Table):
            return sum(read.values) * term.scale
        if not isinstance(value, fx.Node):
            return value * term.scale * self.opened.length
        if (factors := placed_factors(self.opened, value)) is not None:
            placed = place(self.builder, self.opened, value, [self._stack(factor) for factor in factors])
            return self._scaled(placed, term.scale)
        first, *others = [self._contracted(part, value, one, term.scale) for part in contract(value)]
        for other in others:
            first = self.builder.call(aten.add.Tensor, first, other)
        return first

    def _contracted(self, sum_: Contraction, value: fx.Node, one: Accumulator, scale: int | float) -> fx.Node:
        steps = [not isinstance(self.opened.reads.get(factor.node), Invariant) for factor in sum_.factors]
        stacks = [self._stack(factor.node) for factor in sum_.factors]
        own = {label for factor in sum_.factors for label in factor.labels}
        output = [label for label in sum_.output if label in own]
        if len(stacks) == 1:
            made = self._reduced(stacks[0], steps[0], sum_.factors[0], output, one)
        else:
            made = self._product(sum_.factors, steps, stacks, output)
        if len(output) < len(sum_.output):
            sizes = zip(sum_.output, value.meta["spec"].shape, strict=True)
            made = self.builder.call(torch.reshape, made, [size if label in own else 1 for label, size in sizes])
        repeated = 1 if any(steps) else self.opened.length
        return self._scaled(made, sum_.scale * scale * repeated)

    def _product(
        self, factors: tuple[Factor, ...], steps: list[bool], stacks: list[fx.Node], output: list[int]
    ) -> fx.Node:
        """The product of stacked factors; of two that share only what is summed over, as one matrix product.

        An einsum of the same is a batched product of one matrix, which took four times as long on a CPU.
        """
        labels = [
            [_STEP, *factor.labels] if varies else list(factor.labels)
            for factor, varies in zip(factors, steps, strict=True)
        ]
        summed = [label for label in labels[0] if label in labels[-1]]
        free = [label for one in labels for label in one if label not in summed]
        if len(factors) != 2 or not summed or sorted(free) != sorted(output):
            return self.builder.call(torch.einsum, _equation(factors, steps, output), *stacks)
        dims = tuple([one.index(label) for label in summed] for one in labels)
        made = self.builder.call(torch.tensordot, *stacks, dims)
        order = [free.index(label) for label in output]
        return made if order == sorted(order) else self.builder.call(aten.permute.default, made, order)

    def _reduced(self, stack: fx.Node, steps: bool, factor: Factor, output: list[int], one: Accumulator) -> fx.Node:
        """The sum of one stacked factor over the steps and the labels that are not in the output."""
        dims = [k + steps for k, label in enumerate(factor.labels) if label not in output]
        dims = [0, *dims] if steps else dims
        if dims:
            dtype = one.carry.meta["spec"].dtype
            stack = add_call(self.builder.graph, aten.sum.dim_IntList, (stack, dims), {"dtype": dtype})
        kept = [label for label in factor.labels if label in output]
        order = [kept.index(label) for label in output]
        return stack if order == sorted(order) else self.builder.call(aten.permute.default, stack, order)

    def _scaled(self, value: fx.Node, scale: int | float) -> fx.Node:
        return value if scale == 1 else self.builder.call(aten.mul.Tensor, value, scale)

    def _stack(self, node: fx.Node) -> fx.Node:
        """The values of all steps, (T, ...); an invariant as it is."""
        if node not in self.stacks:
            self.stacks[node] = self._new_stack(node)
        return self.stacks[node]

    def _new_stack(self, node: fx.Node) -> fx.Node:
        read = self.opened.reads.get(node)
        if isinstance(read, Invariant):
            return self.builder.read(read.source, node.meta.get("spec"))
        if isinstance(read, Slices) and len({b - a for a, b in pairwise(read.index)}) < 2:
            source = self.builder.read(read.source)
            moved = self.builder.call(torch.movedim, source, read.dim, 0) if read.dim else source
            return slice_steps(self.builder, moved, list(read.index))
        name = f"{self.opened.name}_{node.name}_terms"
        self.wanted[name] = node
        return self.builder.read(name, stacked(node.meta["spec"], self.opened.length))


def _equation(factors: tuple[Factor, ...], steps: list[bool], output: list[int]) -> str:
    """The subscripts of an einsum; t stands for the steps."""
    letters = (letter for letter in string.ascii_lowercase[8:] + string.ascii_uppercase if letter != "t")
    labels = dict.fromkeys(label for factor in factors for label in factor.labels)
    names = dict(zip(labels, letters, strict=False))
    own = ["".join(names[label] for label in factor.labels) for factor in factors]
    terms = ["t" + letters if varies else letters for letters, varies in zip(own, steps, strict=True)]
    return f"{','.join(terms)}->{''.join(names[label] for label in output)}"
