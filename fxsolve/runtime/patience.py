"""When recordings have been of no use: which calls are left alone, and which programs are looked at again later."""

from collections.abc import Callable, Hashable

from fxsolve.runtime.entries import Entry
from fxsolve.runtime.guard_keys import CallKey, changed_part
from fxsolve.state.tokens import HashedState

_MAX_LOST = 4  # recordings in a row that errors of the program end
_MAX_UNDECIDED = 4  # recordings of one signature that show no loop, where values are read
_MAX_REFUSED = 2  # recordings in a row that cannot be made, each of a call that changes the program
_ALONE = 8  # calls in a row that are left alone, of which much was to look at them
_PATIENCE = 8  # calls that are left alone until one more in a row is not looked at
_REST = 32  # calls in a row that are not looked at, at most
_LONG_REST = 256  # where the signature is known, and it was answered by the original all the time


class Patience:
    """Counts the recordings of a program that came to nothing; `most` signatures are kept.

    As many of the next calls as are `resting` are not even looked at.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._newest_key: HashedState | None = None
        self._unused = 0
        self.resting = 0
        self._granted = 0
        self._alone = 0
        self._communicates = ""  # why the newest recording ended, if it came to that
        self._refused: tuple[str, ...] = ()  # why the newest calls, which changed the program, were not recorded
        self._lost = 0  # recordings in a row that an error of the program ended
        self._went_well = 0  # calls since then
        self._undecided: dict[Hashable, int] = {}  # recordings of signatures that showed no loop
        # A program that changes what is watched, and is left alone, will most likely do so at every call.
        self._restless_step = max(1, most // 4)

    def rest(self, calls: int = _REST) -> None:
        """Look at none of the next calls: what sharded parameters change, for one, takes time to look at."""
        self.resting = self._granted = calls

    @property
    def unseen(self) -> int:
        """How many calls were not looked at since `rested` was asked last."""
        return self._granted - self.resting

    def rested(self) -> int:
        """How many calls were not looked at since this was asked last."""
        calls, self._granted = self.unseen, self.resting
        return calls

    def answered(self, is_alone: bool, is_dear: bool) -> None:
        """A known signature; whether it `is_alone`, left to the original, and looking at the call was `is_dear`.

        The longer all of them are, the more calls are not looked at: what is left alone is not made slower.
        """
        self._alone = self._alone + 1 if is_alone and is_dear else 0
        if self._alone >= _ALONE:
            self.rest(min(self._alone, _LONG_REST))

    def found(self) -> None:
        """A signature was seen again."""
        if not self._refused:  # other calls change the program all the same
            self._unused = 0

    def lost(self) -> None:
        """An error of the program ended a recording."""
        self._lost, self._went_well = self._lost + 1, 0

    def ran(self) -> None:
        """A call that was left alone ended well."""
        self._went_well += 1

    def recorded(self, entry: Entry) -> None:
        """A recording did not end in an error of the program."""
        self._lost = 0
        if entry.refusal is None:
            self._refused = ()

    def kept(self, entry: Entry, call: CallKey, is_new: bool, is_unchanged: Callable[[CallKey], bool]) -> None:
        """A recording is kept for such calls; whether their signature `is_new`, and the program as they found it."""
        self._communicates = entry.report.reason if entry.has_communicated else ""
        if is_new and self._newest_key is not None:
            self._unused += 1 if is_unchanged(call) else self._restless_step
        self._newest_key = call.key

    def why_unseen(self, call: CallKey) -> str:
        """Why a call whose signature is new is left alone; "" where it is recorded."""
        if self._unused < self._most or call.key == self._newest_key:
            return ""
        part = changed_part(self._newest_key or call.key, call.key)
        unseen = f"{self._unused} signatures in a row were not seen again, and max_entries={self._most} are kept"
        changes = f"{part} differs at every call: {self._refused[-1] if self._refused else unseen}"
        self._newest_key = call.key
        # Looking at what it changed takes time: the longer this goes on, the more calls are not looked at.
        self._unused += 1
        self.rest(min((self._unused - self._most) // _PATIENCE, _REST))
        return self._communicates or changes

    def why_lost(self) -> str:
        """Why a program whose recordings end in errors is left alone for now; "" where it is recorded."""
        if self._lost < _MAX_LOST or self._went_well > self._lost - _MAX_LOST:
            return ""
        return (
            f"{self._lost} recordings in a row ended in an error of the program; "
            "it is recorded again when it has run without one"
        )

    def is_for_now(self, entry: Entry, call: CallKey, now: CallKey | str) -> bool:
        """Whether a program that could not be recorded is to be recorded at a later call, as the call changed it.

        What cannot be recorded may be what a program does once, such as setting itself up from its first inputs. `now`
        is the same call, as it is read behind the first.
        """
        assert entry.refusal is not None
        reason, is_same = entry.report.reason, isinstance(now, CallKey) and now.key == call.key
        if is_same and not entry.refusal.wrote:
            return False
        if reason not in self._refused and len(self._refused) < _MAX_REFUSED:
            self._refused += (reason,)
            return True
        if not is_same:  # so it will be at the next call
            self._refused, self._unused = (reason,), self._most
        return not is_same

    def is_undecided(self, call: CallKey) -> bool:
        """Whether a recording of such a call showed no loop, but another one may."""
        return call.key in self._undecided

    def is_shown_later(self, call: CallKey, is_known: bool) -> bool:
        """Whether a program that reads values, and in which no loop was found, is to be recorded at a later call.

        A loop that stops on a value takes one step or two for some; more so if one `is_known` from other calls.
        """
        count = self._undecided.get(call.key, 0) + 1
        while len(self._undecided) >= self._most:
            self._undecided.pop(next(iter(self._undecided)))
        self._undecided[call.key] = count
        return count < (2 * _MAX_UNDECIDED if is_known else _MAX_UNDECIDED)
