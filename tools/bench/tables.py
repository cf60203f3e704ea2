"""Writes the tables of tools/bench/README.md and of the README from the benchmarks' JSON files, between comments."""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TABLES = ROOT / "tools" / "bench" / "README.md"
RESULTS = ROOT / "tools" / "bench" / "results"
MARKED = re.compile(r"(<!-- table:(?P<name>[\w/]+) -->\n).*?(<!-- end -->)", re.DOTALL)
HEADLINES = re.compile(r"(<!-- headlines -->\n).*?(<!-- end -->)", re.DOTALL)
# (file, name of its case, what a reader is told)
CHOSEN = (
    ("made", "MADE, D=784", "sampling 100 digits from a MADE, pixel by pixel"),
    ("prefix", "PixelCNN++, 1x28x28, B=16", "sampling 16 digits from a PixelCNN++, pixel by pixel"),
    ("train_step", "Song's RNN, H=128, B=1, T=4096", "a training step of an RNN over 4,096 steps"),
    ("gru", "T=4096, B=1, H=32", "a GRU as a Python loop over 4,096 steps"),
    ("train_step", "residual MLP, 256 blocks of width 32, B=1", "a training step of 256 residual blocks"),
)


def updated(text: str, results: Path) -> str:
    """`text` with every marked table written anew from `results`/NAME.json."""
    text = HEADLINES.sub(lambda found: f"{found[1]}{headlines(results)}{found[2]}", text)
    return MARKED.sub(lambda found: f"{found[1]}{table(found['name'], results)}{found[3]}", text)


def table(name: str, results: Path) -> str:
    """One Markdown table, or a line that says how to measure what is not there yet."""
    path = results / f"{name}.json"
    if not path.exists():
        return f"Not measured yet: `{command(name)}`.\n"
    record = json.loads(path.read_text())
    head, lines = case_rows(record["cases"]) if "cases" in record else method_rows(record["rows"])
    body = "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] + ["---:"] * (len(head) - 1), *lines])
    settings = record["settings"]
    threads = settings["threads"]
    where = f"{record['device']}, {threads} CPU thread{'s' if threads > 1 else ''}, torch {record['torch']}"
    statistic = settings.get("statistic") or f"median of {settings['repeats']}"
    told = "".join(f" {what}: {value:.2f}." for what, value in record.get("summary", {}).items())
    return f"{body}\n\n{where}, {days(record)}, {statistic}.{told}\n"


def days(record: dict[str, Any]) -> str:
    """The day of the measurements, or the first and the last one."""
    found = {case.get("date", record["date"]) for case in record.get("cases", ())} or {record["date"]}
    return " to ".join(sorted({min(found), max(found)}))


def headlines(results: Path) -> str:
    """A table of the results that stand for the others, one of them without a gain."""
    lines = ["| program | as written | fxsolve | gain | difference | first call | command |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for name, case, told in CHOSEN:
        record = json.loads((results / f"{name}.json").read_text())
        found = next(one for one in record["cases"] if one["name"] == case)
        ms, difference = found["ms"], "0, bitwise" if found["equal"] else f"{found['difference']:.1e}"
        lines.append(
            f"| {told} | {ms['eager']:.0f} ms | {ms['fxsolve']:.0f} ms | {found['ratio']:.1f}x | {difference} "
            f"| {found['first_call_s']:.0f} s | `{command(name)}` |"
        )
    return "\n".join(lines) + "\n"


def case_rows(cases: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of a table with one line for each case."""
    rows = {case["name"]: row(case) for case in cases}
    columns = list(dict.fromkeys(column for line in rows.values() for column in line))
    return ["program", *columns], [
        [name, *(line.get(column, "-") for column in columns)] for name, line in rows.items()
    ]


def method_rows(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """The head and the lines of a table with one line for each size, one column for each method."""
    methods = list(dict.fromkeys(one["method"] for one in rows))
    lines: dict[str, dict[str, str]] = {}
    for one in rows:
        size = f"{one['cell']}, H={one['size']}, B={one['batch']}, T={one['steps']}"
        lines.setdefault(size, {})[one["method"]] = f"{one['ms']:.1f} ({one['iterations']})"
    head = ["ms (sweeps or steps)", *methods]
    return head, [[size, *(line.get(method, "-") for method in methods)] for size, line in lines.items()]


def row(case: dict[str, Any]) -> dict[str, str]:
    """The columns of one case by heading."""
    if "fxsolve_s" in case:
        return uses(case)
    if "alike" in case:
        return decisions(case)
    if "gain" in case or "failed" in case:
        return modes(case)
    times = {f"{contender}, ms": f"{ms:.1f}" for contender, ms in case["ms"].items()}
    return times | {
        f"against {case['baseline']}": f"{case['ratio']:.1f}x",
        "expected": f">= {case['prediction']:g}x",
        "sweeps of steps": ", ".join(solved.rpartition(": ")[2] for solved in case["solved"]) or "-",
        "largest difference": "0, bitwise" if case["equal"] else f"{case['difference']:.1e}",
        "recording, s": f"{case['stages_s'].get('capture', 0.0):.1f}",
        "first call, s": f"{case['first_call_s']:.1f}",
    }


def uses(case: dict[str, Any]) -> dict[str, str]:
    """The columns of many calls of one program, compilation included."""
    eager, fxsolve = case["eager_s"], case["fxsolve_s"]
    return {"eager, s": f"{eager:.2f}", "fxsolve, s": f"{fxsolve:.2f}", "schedule at the end": f"`{case['schedule']}`"}


def modes(case: dict[str, Any]) -> dict[str, str]:
    """The columns of one program in several modes; of one that failed, that."""
    if "failed" in case:
        return {"eager, ms": "failed"}
    found = {"eager, ms": f"{case['ms']['eager']:.1f}"}
    for mode, gain in case["gain"].items():
        if mode != "eager":
            found |= {f"{mode}": f"{gain:.2f}x", f"first call, {mode}, s": f"{case['first_s'][mode]:.1f}"}
    worst = max(case["difference"].values())
    return found | {"largest difference": f"{worst:.0e}" if worst else "0, bitwise"}


def decisions(case: dict[str, Any]) -> dict[str, str]:
    """The columns of a program that was compiled several times."""
    most = max(case["schedules"], key=case["schedules"].__getitem__)
    return {
        "decided alike": f"{case['alike']} of {case['compilations']}",
        "median": f"{case['median_ratio']:.2f}x",
        "least": f"{case['least_ratio']:.2f}x",
        "most often": f"`{most}`",
    }


def command(name: str) -> str:
    folder, _, benchmark = name.rpartition("/")
    return "bash tools/bench/gpu" if folder == "gpu" else f"python tools/bench/{benchmark}.py"


def main() -> int:
    for path in (README, TABLES):
        path.write_text(updated(path.read_text(), RESULTS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
