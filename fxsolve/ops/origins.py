"""Where the entries of results come from, of ops that compute nothing."""

from fxsolve.ops.access import (
    Chosen,
    Copied,
    Cut,
    Expanded,
    Gathered,
    Indexed,
    Joined,
    LookUp,
    Parts,
    Permuted,
    Placed,
    Put,
    Rearranged,
    Reshaped,
    SameEntries,
    Scattered,
    Selected,
    Spread,
    Triangle,
)
from fxsolve.ops.call import Call


def origins(call: Call) -> tuple[str, ...]:
    """The arguments that each entry of a result is an entry of, if it is not 0; none where results are computed.

    Which entry it is, is told by the other arguments.
    """
    match call.fact.access:
        case SameEntries() | Permuted() | Reshaped() | Expanded() | Cut() | Parts() | Spread() | Triangle():
            return (next(iter(call.arguments)),)
        case Selected() | Gathered() | Indexed():
            return ("self",)
        case Rearranged(fill):
            return (next(iter(call.arguments)), *([fill] if fill else []))
        case Chosen(names):
            return names
        case Joined():
            return ("tensors",)
        case LookUp():
            return ("weight",)
        case Placed(source) | Copied(source):
            return ("self", source)
        case Put() if not call["accumulate"]:
            return ("self", "values")
        case Scattered() if call.name == "scatter" and call["reduce"] is None:
            return ("self", "src" if "src" in call.arguments else "value")
    return ()
