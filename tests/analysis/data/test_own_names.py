"""Tables as people keep them: other names, and columns that every row would share."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.data.frame import load
from analysis.data.likeness import said_missing
from analysis.data.own_names import OwnNames, parse_own_names
from catalog.errors import InputError
from moeserve.cli import main

OWN = """GPU,Config,concurrency,tput,TTFT(ms)
H100,TP8,1,120.5,45
H100,TP8,16,1210,56.1
H100,tp4+ep,1,110.1,64.9
H100,tp4+ep,16,1250.7,68.6
"""
COLUMNS = ("tput=output_throughput", "Config=strategy", "concurrency=max_concurrency",
           "TTFT(ms)=mean_ttft_ms")  # fmt: skip
CONSTANTS = ("model=moe-a", "workload=1k1k", "num_gpus=8")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "own.csv"
    path.write_text(OWN)
    return path


def flags() -> list[str]:
    pairs = [("--column", text) for text in COLUMNS]
    pairs += [("--constant", text) for text in CONSTANTS]
    return [part for pair in pairs for part in pair]


def test_columns_are_renamed_and_typed_and_constants_filled_in(table: Path) -> None:
    frame = load(table, own=parse_own_names(COLUMNS, CONSTANTS))
    assert frame["output_throughput"].tolist() == [120.5, 1210, 110.1, 1250.7]
    assert set(frame["strategy"]) == {"tp8", "tp4+ep"}
    assert set(frame["num_gpus"]) == {8.0}
    assert set(frame["model"]) == {"moe-a"}
    assert "tput" not in frame
    assert frame["GPU"].tolist() == ["H100"] * 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("compare", "--reference", "tp8"),
        ("tables",),
        ("anova", "--factor", "strategy"),
        ("plot", "-o"),
        ("report", "-o"),
        ("select", "--maximize", "output_throughput"),
    ],
)
def test_every_analysis_command_takes_them(
    capsys: pytest.CaptureFixture[str], table: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    name, *rest = command
    if rest == ["-o"]:
        rest.append(str(tmp_path / ("x.svg" if name == "plot" else "x.html")))
    with pytest.raises(SystemExit) as ended:
        main([name, str(table), *rest, *flags()])
    assert not ended.value.code
    assert capsys.readouterr().out


def test_two_tables_may_call_one_column_by_two_names(table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("strategy,tok/s\ntp2,50\n")
    frame = load(table, other, own=OwnNames({"Config": "strategy", "tok/s": "tput"}))
    assert frame["tput"].tolist() == [120.5, 1210, 110.1, 1250.7, 50]


@pytest.mark.parametrize(
    ("columns", "constants", "problem"),
    [
        (["tputs=output_throughput"], [], "Did you mean tput"),
        (["tput"], [], "OWN=NAME"),
        (["tput=a", "tput=b"], [], "each column once"),
        (["tput=concurrency"], [], "it cannot be both"),
        (["TTFT(s)=mean_ttft_ms"], [], "in milliseconds"),
        (["wall_ms=duration"], [], "in seconds"),
        ([], ["GPU=A100"], "is there already"),
        ([], ["model"], "NAME=VALUE"),
        (["GPU=output_throughput"], [], "is not a number"),
        ([], ["num_gpus=many"], "is not a number"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    table: Path, columns: list[str], constants: list[str], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        load(table, own=parse_own_names(columns, constants))


def test_missing_columns_are_named_at_once_with_the_flags_that_help(
    capsys: pytest.CaptureFixture[str], table: Path
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(table), "--response", "tput"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--column Config=strategy" in said
    assert "--constant model=VALUE" in said
    assert "--constant workload=VALUE" in said
    # A measurement is never the same in all rows.
    assert said_missing(["mean_ttft_ms"], ["a"]) == "column 'mean_ttft_ms' is missing"


@pytest.mark.slow
@given(st.lists(st.text(max_size=12)), st.lists(st.text(max_size=12)))
def test_any_text_is_read_or_refused_as_bad_input(columns: list[str], constants: list[str]) -> None:
    try:
        found = parse_own_names(columns, constants)
    except InputError:
        return
    assert len(found.columns) == len(columns)
    assert len(found.constants) == len(constants)
