"""Every table on terminals of 80, 120 and 200 columns: lines fit, and each number is whole."""

import csv
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from moeserve.cli import main
from moeserve.cli.table import shown

SLOW = pytest.mark.slow
WIDTHS = (80, pytest.param(120, marks=SLOW), pytest.param(200, marks=SLOW))
STYLE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|.*\r")
STUDY = [
    "--engine", "simulated", "--model", "mixtral,olmoe", "--strategy", "tp,ep,tp+ep",
    "--workload", "decode-heavy", "-c", "1,128",
]  # fmt: skip
LOOSE = re.compile(r"^\[?\d[\d,.]*(e[-+]\d+)?\]?$")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study") / "out"
    with pytest.raises(SystemExit):
        main(["run", *STUDY, "--noise", "0.02", "--num-runs", "2", "-o", str(root), "-q"])
    return root


@pytest.fixture(scope="module")
def whole_numbers() -> dict[str, set[str]]:
    """The numbers of each command's JSON, once it was asked."""
    return {}


def commands(root: Path) -> dict[str, list[str]]:
    return {
        "run": ["run", *STUDY, "--noise", "0.02", "--num-runs", "2", "-o", str(root)],
        "results": ["results", str(root)],
        "compare": ["compare", str(root)],
        "anova": ["anova", str(root)],
        "select": ["select", str(root), "--maximize", "output_throughput"],
        "recommend": [
            "predict",
            "recommend",
            "--model",
            "mixtral",
            "--hardware",
            "H100",
            "--gpus",
            "4",
        ],
        "estimate": ["estimate", *STUDY[2:]],
        "models": ["models"],
        "one model": ["models", "--model", "mixtral", "--context", "4096"],
        "hardware": ["hardware"],
    }


def call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    capsys.readouterr()
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code in (0, None), arguments
    told = capsys.readouterr()
    return told.out, told.err


def be_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let standard output and error say that they are a terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)


def numbers_of(value: Any) -> set[str]:
    """Every number of a result as it may be shown."""
    if isinstance(value, dict):
        return {text for each in value.values() for text in numbers_of(each)}
    if isinstance(value, list):
        return {text for each in value for text in numbers_of(each)}
    return {shown(value)} if isinstance(value, int | float) else set()


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", list(commands(Path())))
def test_lines_fit_and_no_number_is_cut(
    name: str,
    width: int,
    results: Path,
    whole_numbers: dict[str, set[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    be_terminal(width, monkeypatch)
    arguments = commands(results)[name]
    out, err = call(arguments, capsys)
    text = STYLE.sub("", out)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    told = STYLE.sub("", err).replace(str(results), "out")
    assert max(map(len, told.splitlines()), default=0) <= width
    if name not in whole_numbers:  # of any width the same
        as_json, _ = call([*arguments, "--format", "json"], capsys)
        whole_numbers[name] = numbers_of(json.loads(as_json)) | {"[1]", "[2]", "[3]"}
    cells = [cell.strip() for line in text.splitlines() if "│" in line for cell in line.split("│")]
    if name in ("anova", "models", "one model", "hardware"):
        return  # they show further tables, or sizes in other units, as their JSON has
    assert cells
    assert not {cell for cell in cells if LOOSE.match(cell)} - whole_numbers[name]


@pytest.mark.slow
def test_results_is_the_table_of_run_with_every_column_in_csv(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_run, _ = call(commands(results)["run"], capsys)
    by_results, _ = call(["results", str(results)], capsys)
    assert by_run == by_results
    as_csv, _ = call(["results", str(results), "--format", "csv"], capsys)
    rows = list(csv.DictReader(io.StringIO(as_csv)))
    assert {"run_id", "median_ttft_ms", "started_at", "configuration"} <= set(rows[0])
    loads = [int(r["max_concurrency"]) for r in rows if (r["model"], r["strategy"]) ==
             ("Mixtral-8x7B", "ep") and r["workload"] == "balanced"]  # fmt: skip
    assert loads == sorted(loads)


@pytest.mark.slow
def test_every_table_of_runs_ends_with_an_answer_and_the_next_command(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("run", "results", "compare"):
        _, err = call(commands(results)[name], capsys)
        assert "Mixtral-8x7B: by the model, " in err
        assert f"next: moeserve report {results}" in err
