"""The calls in which the original and an emitted module take turns, and what becomes of it."""

from dataclasses import replace
from typing import Any

from fxsolve.economy.clock import seconds_now
from fxsolve.runtime.attempts import MISS, Attempts, noted
from fxsolve.runtime.cache import Cache, Group, Variant, variant_of
from fxsolve.runtime.contest import AGAIN, FAR_AHEAD, Contest
from fxsolve.runtime.gradients import Original
from fxsolve.runtime.guard_keys import CallKey
from fxsolve.runtime.remembering import remember
from fxsolve.runtime.stopwatch import tell_when_over


def take_turn(attempts: Attempts, cache: Cache, group: Group, call: CallKey, original: Original, began: float) -> Any:
    """As `Attempts.reuse`, unless it is the original's turn in a contest; the call `began` at that second."""
    variant = group.usual
    contest = _contest_of(group, variant) if variant is not None else None
    if variant is not None and contest is not None and (contest.is_decided or contest.is_given_up):
        with cache.lock:
            if variant.contest is contest:  # no other thread was first
                variant.contest = None
                _settle(group, variant, contest)
        contest = None
    if variant is None or contest is None:
        return attempts.reuse(group, call, original)
    contest.begun += 1
    if contest.is_originals_turn():
        began = seconds_now()
        result = original.run()
        variant.calls += 1
        attempts.show(variant)
        taken = contest.original
    else:
        is_both = attempts.is_to_verify(variant)
        result = attempts.reuse(group, call, original)
        if result is MISS or attempts.latest is not variant or is_both:
            return result
        taken = contest.emitted
    tell_when_over(seconds_now() - began, result, call.tensors, taken.append)
    return result


def _contest_of(group: Group, variant: Variant) -> Contest | None:
    """The contest of a variant; after many calls there is another one, for what forms cost may have changed.

    None where calls read values that differ: which of them the original took, nobody knows.
    """
    if group.recordings > 1 and variant.entry.ready is not None and variant.entry.ready.guards:
        variant.contest = None
        return None
    if variant.contest is None and variant.entry.may_decide and variant.calls % AGAIN == AGAIN - 1:
        original, emitted = variant.report.original_seconds, variant.report.emitted_seconds
        # What is far ahead is not soon behind, and each turn of the original costs as much as it saves.
        if original is not None and emitted is not None and original < FAR_AHEAD * emitted:
            variant.contest = Contest()
    return variant.contest


def _settle(group: Group, variant: Variant, contest: Contest) -> None:
    """From now on, the faster form answers; where that did not become clear, the emitted one."""
    if not contest.is_decided:
        variant.entry = replace(variant.entry, is_close=False)
        return
    slow, fast = contest.medians()
    entry = noted(variant.entry, f"calls showed which form is faster: {len(contest.original)} by each, in turn")
    report = replace(entry.report, original_seconds=slow, emitted_seconds=fast)
    entry = replace(entry, report=report, is_close=False)
    if contest.is_emitted_faster:
        variant.entry = entry
        remember(entry)
    elif any(one is variant for one in group.variants):
        reason = f"sequential is best here: in these calls, the emitted module takes {fast / slow:.2f} times as long"
        nothing = {"schedule": "original", "certificates": (), "traces": ()}
        report = replace(report, status="left alone", reason=reason, **nothing)
        lost = variant_of(replace(entry, report=report, ready=None), variant.calls)
        group.retire(lost)
        remember(lost.entry)
