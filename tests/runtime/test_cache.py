"""Compiled versions by signature: the least recently used goes first, and variants are tried by their last use."""

from typing import Any

import pytest

from fxsolve.report.report import Report
from fxsolve.runtime.cache import MAX_FAMILIES, MAX_MEMBERS, ORIGINAL, Cache, Families, Group, Variant
from fxsolve.runtime.entries import Entry
from fxsolve.runtime.guard_keys import Reader
from tests.runtime.building import member_of, numbers, recurrence

READY: Any = object()


def emitted(name: str = "program") -> Variant:
    return Variant(Entry(Report(name, "emitted"), ready=READY))


def left_alone(reason: str = "no loop was found") -> Variant:
    return Variant(Entry(Report("program", "left alone", reason)))


def test_the_least_recently_used_signature_goes_first() -> None:
    cache = Cache(2)
    first, second, third = emitted(), emitted(), emitted()
    cache.add("first", first)
    cache.add("second", second)
    assert cache.find("first") is not None  # used now
    cache.add("third", third)
    assert cache.find("second") is None
    assert list(cache.variants()) == [first, third]


def test_adding_to_a_known_signature_makes_no_room_and_counts_as_a_use() -> None:
    cache = Cache(2)
    cache.add("first", emitted())
    cache.add("second", emitted())
    group = cache.add("first", emitted())
    assert len(group.variants) == 2
    assert cache.find("second") is not None
    cache.add("first", emitted())
    cache.add("third", emitted())
    assert cache.find("second") is None


def test_the_variant_that_fitted_last_is_tried_first() -> None:
    group, one, two = Group(), emitted(), emitted()
    group.add(one)
    group.add(two)
    assert group.variants == (two, one)
    group.misses = 3
    group.hit(one)
    assert group.variants == (one, two)
    assert (one.calls, two.calls, group.misses, group.recordings) == (1, 0, 0, 2)


def test_a_group_without_a_module_is_retired_and_one_with_keeps_it() -> None:
    alone = Group()
    alone.add(left_alone())
    assert alone.retired
    group, one, fallback = Group(), emitted(), left_alone()
    group.add(one)
    group.add(fallback)
    assert not group.retired
    assert group.variants == (one,)
    assert group.fallback is fallback


def test_a_retired_group_keeps_nothing_that_runs() -> None:
    group, one, reason = Group(), emitted(), left_alone("differs")
    group.add(one)
    group.retire(reason)
    assert (group.variants, group.fallback, group.retired) == ((), reason, True)
    group.hit(one)  # by a thread that was still running it
    assert group.variants == ()


def test_a_dropped_variant_is_gone_and_the_others_stay() -> None:
    group, one, two = Group(), emitted(), emitted()
    group.add(one)
    group.add(two)
    group.drop(two)
    assert group.variants == (one,)


def test_variants_are_listed_from_the_least_recently_used_on() -> None:
    cache, one, two, rest = Cache(4), emitted(), emitted(), left_alone()
    for variant in (one, two, rest):
        cache.add("key", variant)
    assert list(cache.variants()) == [one, two, rest]
    group = cache.find("key")
    assert group is not None
    group.hit(one)
    assert list(cache.variants()) == [two, one, rest]


@pytest.mark.parametrize(("variant", "status"), [(left_alone("why"), "left alone"), (emitted(), "emitted")])
def test_what_is_told_of_a_version_is_its_report(variant: Variant, status: str) -> None:
    variant.calls = 3
    info = variant.info()
    assert (info.schedule, info.status, info.reason, info.calls) == (str(ORIGINAL), status, variant.report.reason, 3)


def test_a_family_keeps_its_newest_members_of_different_sizes() -> None:
    families, reader = Families(), Reader(recurrence)
    call = reader.read((numbers(5, 2),), {})
    members = [member_of(recurrence, numbers(length, 2)) for length in range(4, 4 + MAX_MEMBERS + 1)]
    families.add(call, members)
    assert families.find(call) == tuple(members[1:])
    again = member_of(recurrence, numbers(6, 2))
    families.add(call, [again])
    kept = families.find(call)
    assert kept[-1] is again
    assert len({one.sizes for one in kept}) == len(kept) == MAX_MEMBERS


def test_calls_of_other_lengths_are_one_family_and_only_the_newest_families_stay() -> None:
    families, reader = Families(), Reader(recurrence)
    member = member_of(recurrence, numbers(5, 2))
    first = reader.read((numbers(5, 2),), {})
    families.add(first, [member])
    assert families.find(reader.read((numbers(9, 2),), {})) == (member,)
    assert families.find(reader.read((numbers(9, 2).float(),), {})) == ()
    for dims in range(3, 3 + MAX_FAMILIES):
        families.add(reader.read((numbers(*[2] * dims),), {}), [member])
    assert families.find(first) == ()
