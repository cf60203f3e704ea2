"""Reads of several steps before become chains of reads of one step before.

    x_{t-2}  =  y_{t-1}    with    y_t = x_{t-1}

Newton steps, scans and fused steps know the state that one step hands to the next; so does every recurrence then.
"""

from fxsolve.ir.bodies import OpenRepeat
from fxsolve.ir.spec import Lag


def unit_lags(opened: OpenRepeat) -> None:
    """Let no step read further back than the step before; equal chains are one.

    Where no step reads the one before it, chains would only tie steps together that may be solved at once.
    """
    known = {
        (opened.feeds[node], read.initial): node
        for node, read in opened.reads.items()
        if isinstance(read, Lag) and read.distance == 1
    }
    longer = {node: read for node, read in opened.reads.items() if isinstance(read, Lag) and read.distance > 1}
    for node, read in longer.items() if known else ():
        fed = opened.feeds[node]
        for first in reversed(read.initial):
            if (fed, (first,)) not in known:
                known[fed, (first,)] = made = opened.add_read(f"{node.name}_back", Lag(0, (first,)), node.meta["spec"])
                opened.feeds[made] = fed
            fed = known[fed, (first,)]
        del opened.reads[node], opened.feeds[node]
        opened.replace(node, fed)
