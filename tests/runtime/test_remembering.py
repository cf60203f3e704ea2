"""What is made known of a decision, and what a plan holds of it."""

from dataclasses import dataclass, field, replace
from typing import Any

from fxsolve.report.report import Report
from fxsolve.runtime.cache import Variant
from fxsolve.runtime.entries import Entry
from fxsolve.runtime.planned import planned
from fxsolve.runtime.remembering import forget, remember, remember_purchase
from fxsolve.runtime.sources import Decided, Source
from fxsolve.runtime.verdict import Measured, Verdict

REPORT = Report("net", "left alone", reason="slower", signature="f32[3]", original_seconds=1.0, emitted_seconds=2.0)


@dataclass
class Told(Source):
    """Notes what it is told."""

    verdicts: list[Verdict] = field(default_factory=list)
    forgotten: int = 0

    def find(self) -> Verdict | None:
        return None

    def publish(self, own: Verdict) -> Verdict:
        self.verdicts.append(own)
        return own

    def forget(self) -> None:
        self.forgotten += 1


def entry(told: Told, **changes: Any) -> Entry:
    return Entry(REPORT, settled=Decided((("loop0", "abc"),), 1e-6, told), **changes)


def test_a_next_process_begins_with_what_was_decided() -> None:
    told = Told()
    remember(entry(told, is_close=True))
    assert told.verdicts == [Verdict("", 1e-6, "slower", measured=Measured(1.0, 2.0, is_close=True))]


def test_where_more_can_be_gained_nothing_changes() -> None:
    told, offered = Told(), replace(entry(Told()), prospect=object())  # pyright: ignore[reportArgumentType]
    remember(offered)
    remember(Entry(REPORT))
    assert told.verdicts == []


def test_what_was_bought_and_is_not_faster_is_what_stays() -> None:
    told = Told()
    before = replace(entry(told), prospect=object())  # pyright: ignore[reportArgumentType]
    remember_purchase(before, entry(told))
    assert [one.reason for one in told.verdicts] == ["slower"]


def test_what_was_wrong_is_forgotten() -> None:
    told = Told()
    forget(entry(told))
    forget(Entry(REPORT))
    assert told.forgotten == 1


def test_a_plan_has_each_system_once_and_the_newest_decision_about_it() -> None:
    told = Told()
    first, second = entry(told), replace(entry(told), report=replace(REPORT, reason="much slower"))
    (found,) = planned([Variant(first), Variant(Entry(REPORT)), Variant(second)])
    assert (found.signature, found.schedule, found.reason) == ("f32[3]", "", "much slower")
    assert found.graph == (("loop0", "abc"),)
