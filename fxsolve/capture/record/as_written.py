"""What torch.compile made of parts of a program runs as it is written while the program is recorded.

torch's operators for loops and branches compile around themselves, and so may a layer of the user's. Where a dispatch
mode is active the compiler gives up on such a function, and remembers that: in the whole process it would fail, or stay
uncompiled, from then on.
"""

from collections.abc import Callable
from typing import Any

from fxsolve.capture.together import Together, Undo
from fxsolve.torch_compat import compilers


class _Stance:
    """That of `torch.compiler.set_stance`; to threads that record nothing, as it was."""

    def __init__(self, is_here: Callable[[], bool], other: Any) -> None:
        self._is_here = is_here
        self.other = other

    def __getattr__(self, name: str) -> Any:
        return "force_eager" if name == "stance" and self._is_here() else getattr(self.other, name)


def _compile_nothing(is_here: Callable[[], bool]) -> Undo:
    made: list[_Stance] = []

    def change() -> None:
        made.append(_Stance(is_here, compilers.stance()))
        compilers.set_stance(made[0])

    # Nothing was compiled where the compiler, which takes a second to import, was not: but the program may import it.
    call_off = compilers.call_with_stances(change)

    def undo() -> None:
        call_off()
        if made and compilers.stance() is made[0]:  # no other thread has set its own meanwhile
            compilers.set_stance(made[0].other)

    return undo


# In the body, torch's compiler compiles nothing for this thread.
as_written = Together(_compile_nothing)
