"""Pausing Python's garbage collector while a graph is built."""

import gc

from fxsolve.tracer.together import Together, Undo


def _pause() -> Undo:
    if not gc.isenabled():
        return gc.isenabled
    gc.disable()
    return gc.enable


# A growing graph holds only live objects, which every collection walks again: half of the time of recording.
paused_collector = Together(_pause)
