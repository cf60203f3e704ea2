"""All compiled programs of a process."""

import gc

from fxsolve.runtime.cache import EntryInfo
from fxsolve.runtime.overview import Overview, ProgramEntry, entries, note


class Kept:
    def __init__(self, name: str, *known: EntryInfo) -> None:
        self.name = name
        self.known = known

    def entries(self) -> tuple[EntryInfo, ...]:
        return self.known


EMITTED = EntryInfo("f32[3]", "gs(<cell>)", "emitted", "", 1234)
ALONE = EntryInfo("f32[4]", "original", "left alone", "no loop was found", 2)


def of(*names: str) -> list[ProgramEntry]:
    return [one for one in entries() if one.program in names]


def test_programs_stand_in_the_order_in_which_they_were_compiled() -> None:
    first, second = Kept("zeta", EMITTED, ALONE), Kept("alpha", ALONE)
    note(first)
    note(second)
    assert [(one.program, one.entry) for one in of("zeta", "alpha")] == [
        ("zeta", EMITTED),
        ("zeta", ALONE),
        ("alpha", ALONE),
    ]


def test_a_program_that_nobody_uses_any_more_is_gone() -> None:
    kept = Kept("forgotten", EMITTED)
    note(kept)
    assert of("forgotten")
    del kept
    gc.collect()
    assert not of("forgotten")


def test_a_row_says_what_runs_and_why() -> None:
    rows = Overview((ProgramEntry("net", EMITTED), ProgramEntry("net", ALONE)))
    assert [one.cells()[2:] for one in rows] == [("1,234", "gs(<cell>)"), ("2", "original: no loop was found")]
    assert all(word in str(rows) for word in ("program", "1,234", "gs(<cell>)", "no loop was found"))


def test_notebooks_get_a_table_in_which_nothing_is_markup() -> None:
    html = Overview((ProgramEntry("net", EMITTED),))._repr_html_()
    assert "<td>gs(&lt;cell&gt;)</td>" in html
    assert html.count("<tr>") == 2
