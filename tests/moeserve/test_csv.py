"""CSV as the commands print it: what spreadsheets, pandas and moeserve itself read from it."""

import csv
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.data.read import read_table
from catalog.csv_text import csv_text
from moeserve.cli import main

FORMULAS = [
    *("=1+1", "+1+1", "-1+1", "@SUM(A1)", " =0+1", "\n=2+2", "\t=3+3", "\r=4+4", "\u00a0=5+5"),
    *('=cmd|"/c calc"!A0', "\uff1d6+6", "\x00=7+7", "\x1b=8+8", "-", "-1e", "--1", "'=9"),
]
HARMLESS = ["tp+ep", "a=b", "it's", "'quoted'", "-1.5", "+3", "-2e-3", "–", "naïve, ok", 'say "so"']


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints on standard output, byte for byte."""
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
        raise SystemExit(0)
    assert ended.value.code in (0, None)
    return capsys.readouterr().out


@pytest.fixture
def landscape(tmp_path: Path) -> Path:
    """A table of somebody else: its headings and cells are printed again by `select`."""
    path = tmp_path / "theirs.parquet"
    names = [*FORMULAS, *HARMLESS]
    columns = {"name": names, "cost": [1.5 * i for i in range(len(names))], "=evil()": "x"}
    pd.DataFrame(columns).to_parquet(path)
    return path


def test_no_cell_and_no_heading_of_a_command_s_csv_is_a_formula(
    capsys: pytest.CaptureFixture[str], landscape: Path
) -> None:
    text = printed(capsys, "select", landscape, "--minimize", "cost", "--format", "csv")
    heading, *rows = csv.reader(io.StringIO(text, newline=""))
    assert "'=evil()" in heading
    cells = {row[heading.index("name")] for row in rows}
    assert len(cells) == len(FORMULAS) + len(HARMLESS)
    assert set(HARMLESS) <= cells
    for cell in cells - set(HARMLESS):
        assert cell.startswith("'"), cell
    assert not {char for char in text if ord(char) < 32} - set("\r\n\t")


@pytest.mark.parametrize("text", [*FORMULAS, "\ttab", "\nline"])
def test_a_formula_behind_blanks_or_line_breaks_is_one_too(text: str) -> None:
    """A reader strips blanks; names that come another way, a model's path say, may have them."""
    ((heading,), (cell,)) = csv.reader(io.StringIO(csv_text([{text: text}]), newline=""))
    assert heading == cell
    assert cell[0] == "'"


def test_csv_has_the_line_ends_and_the_quotes_of_rfc_4180(
    capsys: pytest.CaptureFixture[str], landscape: Path
) -> None:
    text = printed(capsys, "select", landscape, "--minimize", "cost", "--format", "csv")
    assert text.endswith("\r\n")
    assert '"say ""so"""' in text
    assert '"naïve, ok"' in text
    outside = "".join(text.split('"')[::2])
    assert outside.count("\n") == outside.count("\r") == outside.count("\r\n")


def test_pandas_reads_the_same_numbers_and_empties_as_from_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ("qs", "--experts", "64", "--top-k", "8", "--quality", "9")
    (one,) = json.loads(printed(capsys, *command, "--format", "json"))
    frame = pd.read_csv(io.StringIO(printed(capsys, *command, "--format", "csv")))
    assert list(frame.columns) == list(one)
    assert one["crossover_batch"] is None
    for name, value in frame.iloc[0].items():
        assert value == one[name] or (pd.isna(value) and one[name] is None), name


def test_what_is_not_known_is_empty() -> None:
    rows = [{"a": None, "b": float("nan"), "c": float("-inf")}, {"c": -0.5, "d": False}]
    assert csv_text(rows) == "a,b,c,d\r\n,,,\r\n,,-0.5,False\r\n"
    assert csv_text([{"a": None}]) == 'a\r\n""\r\n', "a lone empty cell is still a row"
    assert csv_text([], ("a", "b")) == "a,b\r\n"


# What turns the direction of text or ends lines is left out of the file on purpose.
TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
NAME = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters=TURNING),
    max_size=12,
)
# What moeserve reads from any table has no blanks around it.
STRIPPED = st.tuples(st.sampled_from(["", "'", "''", "=", "-", "@", "'="]), NAME).map(
    lambda parts: "".join(parts).strip()
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(STRIPPED, st.floats(allow_infinity=False)), min_size=1, max_size=5))
def test_names_and_numbers_survive_a_csv_that_moeserve_reads_again(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "r.csv"
    text = csv_text({"model": name, "=duration": number} for name, number in rows)
    path.write_text(text, encoding="utf-8", newline="")
    frame = read_table(path)
    assert list(frame["model"]) == [name for name, _ in rows]
    for found, (_, number) in zip(frame["=duration"], rows, strict=True):
        assert found == number or number != number or pd.isna(found)
