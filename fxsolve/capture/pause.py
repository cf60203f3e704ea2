"""Sparing Python's garbage collector the walks over a graph that is being built."""

import gc

from fxsolve.capture.together import Together, Undo

_RARELY = 1_000_000  # collections of the youngest objects for one of older ones
_YOUNG = 50_000


def _pause(_: object) -> Undo:
    """Leave old objects alone; what other threads make and drop meanwhile is collected while it is young.

    The collector is one for all threads, and each of them may switch it on and off as it likes.
    """
    before = gc.get_threshold()
    if not 0 < before[0] < _YOUNG:  # off, or seldom as it is
        return gc.get_threshold
    gc.set_threshold(_YOUNG, _RARELY, _RARELY)
    now = gc.get_threshold()  # some Pythons have no use for the last one
    return lambda: gc.set_threshold(*before) if gc.get_threshold() == now else None


# A growing graph holds only live objects, which every full collection walks again: up to half the time of recording.
paused_collector = Together(_pause)
