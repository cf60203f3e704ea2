"""Places that a program sets at each call before it looks at them: what is in them makes no difference to it."""

from torch import Tensor

from fxsolve.capture.program import Program
from fxsolve.capture.record.watched import watched_firsts
from fxsolve.runtime.gradients import Original
from fxsolve.runtime.trial import run_original
from fxsolve.state.places import Place
from fxsolve.state.reach import find_reach
from fxsolve.state.stores import has_tensor
from fxsolve.torch_compat.trees import pytree


def find_made(original: Original, program: Program, known: tuple[Place, ...]) -> tuple[Place, ...]:
    """Of the places that `program` stores tensors in, and those that are known, the ones that it does not read before.

    Where there are any, the original runs once more as if for the first time, and is watched.
    """
    stores = program.stores
    stored = (one.place for one in stores.writes if has_tensor(one.recipe))
    used = {place.identity for place in stores.used()}
    wanted = [place for place in (*stored, *known) if place.identity not in used]
    if not wanted:
        return ()
    leaves = pytree.tree_leaves((original.args, original.kwargs))
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
    reach = find_reach(original.program, tuple(leaf for leaf in leaves if not isinstance(leaf, Tensor)))
    try:
        with watched_firsts(reach, wanted) as firsts:
            run_original(original, program, (*tensors, *program.example.state))
    except Exception:  # it cannot run a second time: nothing is known
        return ()
    # What is set to what was there anyway is not stored: another value that is there would stay.
    again = {one.place.identity for one in stores.writes}
    return tuple(place for place in firsts.unread() if place.identity in again or not firsts.is_set(place))
