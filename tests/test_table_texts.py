"""The text of every stage for every row of the table is the one that is kept, in `tests/golden/table`."""

import pytest

from tests.goldens import check_golden, check_names
from tests.table.row import Row
from tests.table.texts import text_of
from tests.test_table import PARTS

FOLDER = "table"
NAMED = {f"{part.__name__.rpartition('.')[2]}/{row}": row for part in PARTS for row in part.ROWS}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
]


@pytest.mark.parametrize(("name", "row"), NAMED.items(), ids=NAMED)
def test_the_stages_say_what_is_kept(name: str, row: Row) -> None:
    check_golden(f"{FOLDER}/{name}", text_of(row))


def test_every_kept_text_is_of_a_row() -> None:
    check_names(FOLDER, set(NAMED))
