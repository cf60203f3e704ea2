"""Prices are kept between processes, and files that make no sense are as good as none."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from fxsolve.economy.files import VARIABLE, folder, machine
from fxsolve.economy.prices import Prices
from fxsolve.economy.store import FORMAT, learn_price, read_prices

OPS = 100
DEAR = 5.0  # seconds


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, in a folder that is not there yet."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "new"))
    return tmp_path / "new" / "prices.json"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def entry(**values: Any) -> str:
    return json.dumps({"format": FORMAT, "machines": {machine(): {"compilations": 3, "op_seconds": 0.03} | values}})


def test_what_was_learned_is_read(kept: Path) -> None:
    assert read_prices() == Prices()
    for _ in range(3):
        learn_price(OPS, DEAR)
    assert read_prices().compiling(OPS) == pytest.approx(DEAR)
    assert [one.name for one in kept.parent.iterdir()] == ["prices.json"]


def test_newer_compilations_count_for_more_than_old_ones(kept: Path) -> None:
    write(kept, entry(compilations=10**6))
    for _ in range(300):
        learn_price(OPS, DEAR)
    assert read_prices().compiling(OPS) == pytest.approx(DEAR, rel=0.05)


def test_what_inductor_had_compiled_before_says_nothing(kept: Path) -> None:
    learn_price(OPS, 0.1)
    assert not kept.exists()


BROKEN = {
    "empty": "",
    "no JSON": "{",
    "deep": "[" * 10**4,
    "a list": "[1]",
    "foreign": '{"format": "something-else", "machines": {}}',
    "no machines": json.dumps({"format": FORMAT, "machines": 3}),
    "text": entry(op_seconds="0.03"),
    "negative": entry(op_seconds=-1.0),
    "nan": entry(op_seconds=float("nan")),
    "infinite": entry(op_seconds=float("inf")),
    "far too dear": entry(op_seconds=1e9),
    "far too cheap": entry(op_seconds=1e-12),
    "no count": entry(compilations=True),
    "huge": entry(padding="x" * (1 << 17)),
    "code": "cos\nsystem\n(S'exit 1'\ntR.",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_makes_no_sense_is_as_good_as_none(kept: Path, kind: str) -> None:
    write(kept, BROKEN[kind])
    assert read_prices() == Prices()
    learn_price(OPS, DEAR)
    assert read_prices().compiling(OPS) == pytest.approx(DEAR)


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "taken", "a file")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "taken"))
    learn_price(OPS, DEAR)
    assert read_prices() == Prices()


@pytest.mark.parametrize("value", ["off", "", "0", "OFF"])
def test_nothing_is_kept_where_the_user_says_so(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert folder() is None
    learn_price(OPS, DEAR)
    assert read_prices() == Prices()


def test_several_threads_leave_a_whole_file(kept: Path) -> None:
    wrong: list[str] = []

    def work() -> None:
        for _ in range(50):
            learn_price(OPS, DEAR)
            if read_prices().compiling(OPS) != pytest.approx(DEAR):
                wrong.append(kept.read_text())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert json.loads(kept.read_text())["format"] == FORMAT


def test_by_default_files_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "fxsolve"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert folder() == Path.home() / ".cache" / "fxsolve"
