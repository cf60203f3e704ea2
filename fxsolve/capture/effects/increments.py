"""Whether code reads an attribute only to add to it: `x.name += VALUE` or `x.name = x.name + VALUE`, in bytecode.

What was loaded lies on the stack of the frame until the addition takes it, and the sum lies there until it is stored,
so nothing else can see either. Where an instruction is not known here, the answer is no.
"""

import dis
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import dropwhile
from types import CodeType

_LOADS = ("LOAD_FAST", "LOAD_CONST", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_NAME", "LOAD_SMALL_INT", "PUSH_NULL")
_CONSTANTS = ("LOAD_CONST", "LOAD_SMALL_INT")
_ATTRIBUTES = ("LOAD_ATTR", "LOAD_METHOD")
_OF_TWO = ("BINARY_OP", "BINARY_SUBSCR", "COMPARE_OP")
_CALLS = ("PRECALL", "CALL", "CALL_KW")
_NOTHING = ("CACHE", "EXTENDED_ARG", "NOP", "KW_NAMES", "NOT_TAKEN")
_SIGNS = {"+": 1, "+=": 1, "-": -1, "-=": -1}

Instructions = Iterator[dis.Instruction]


@dataclass(frozen=True)
class Increment:
    """The sum is stored by the instruction at `stored`; `number` is what is added, None where it is no constant."""

    stored: int
    number: int | float | None


@lru_cache(maxsize=4096)  # code that is made at run time is not kept for ever
def find_increment(code: CodeType, offset: int, name: str) -> Increment | None:
    """The increment that the instruction at `offset` begins by loading attribute `name`, or None."""
    known = (one for one in dis.get_instructions(code) if one.opname not in _NOTHING)
    rest = dropwhile(lambda one: one.offset != offset, known)
    first = next(rest, None)
    if first is None or first.opname != "LOAD_ATTR" or first.argval != name:
        return None
    operand, addition = _operand(rest)
    if addition is None or addition.argrepr not in _SIGNS:
        return None
    stored = _stored(rest, name)
    number = operand[0].argval if len(operand) == 1 and operand[0].opname in _CONSTANTS else None
    number = _SIGNS[addition.argrepr] * number if isinstance(number, (int, float)) else None
    return None if stored is None else Increment(stored, number)


def _operand(rest: Instructions) -> tuple[list[dis.Instruction], dis.Instruction | None]:
    """The instructions that make the right operand, and the one that takes it and what lies below."""
    height, operand = 0, []
    for one in rest:
        if one.opname == "BINARY_OP" and height == 1:
            return operand, one
        above = _height_after(one, height)
        if above is None:
            break
        height = above
        operand.append(one)
    return operand, None


def _stored(rest: Instructions, name: str) -> int | None:
    """Where the sum on top of the stack is stored as this attribute, and nothing else is done to it before."""
    height = 0
    for one in rest:
        if one.opname == "STORE_ATTR":
            return one.offset if one.argval == name and height == 1 else None
        if one.opname == "SWAP" and one.arg == 2 and height == 0:
            height = 1  # the object, which was loaded before
            continue
        above = _height_after(one, height)
        if above is None:
            return None
        height = above
    return None


def _height_after(one: dis.Instruction, height: int) -> int | None:
    """How many values lie above the watched one after an instruction; None if it may touch that one."""
    kind = one.opname
    above = height + dis.stack_effect(one.opcode, one.arg, jump=False)
    if kind.startswith(_LOADS):
        return above
    if kind in _ATTRIBUTES or kind.startswith("UNARY_"):
        return above if height >= 1 else None
    if kind in _OF_TWO:
        return above if height >= 2 else None
    if kind in _CALLS:
        return above if above >= 1 else None
    return None
