"""Run tables from files: kinds, places of bad cells, and what is refused."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.conditions import kept_apart
from analysis.data.directory import rows_frame
from analysis.data.frame import load
from analysis.data.read import column_kinds, typed
from catalog.errors import BadFile, BadValue
from orchestrator.results.record import ColumnValue

Study = Callable[..., pd.DataFrame]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_kinds_are_read_off_the_record() -> None:
    kinds = column_kinds()
    assert kinds["model"] == "text"
    assert kinds["ep"] == "flag"
    assert kinds["output_throughput"] == kinds["replicate"] == "number"
    assert "extra" not in kinds


def test_a_csv_and_its_parquet_read_alike(tmp_path: Path, study: Study) -> None:
    rows = study()
    rows.to_csv(tmp_path / "a.csv", index=False)
    rows.to_parquet(tmp_path / "a.parquet")
    from_csv, from_parquet = (load(tmp_path / name) for name in ("a.csv", "a.parquet"))
    pd.testing.assert_frame_equal(
        from_csv.drop(columns="source_file"), from_parquet.drop(columns="source_file")
    )


def test_a_bad_number_is_named_by_file_column_and_row(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "model,output_throughput\na,1\nb,672.4 tok/s\n")
    with pytest.raises(BadFile, match=r"r\.csv: column 'output_throughput', row 2: '672.4 tok/s'"):
        load(path)


def test_an_infinite_number_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "model,output_throughput\na,inf\n")
    with pytest.raises(BadFile, match="row 1: 'inf' is not a finite number"):
        load(path)


def test_missing_is_nan_and_not_zero(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "model,output_throughput\na,\nb,NaN\nc,2\n")
    assert load(path)["output_throughput"].isna().tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("model,strategy\n", "holds no rows"),
        ("model,model\na,b\n", "column 'model' is there twice"),
        ("model, model\na,b\n", "column 'model' is there twice"),
        ("model,strategy\na,tp\nb,ep,extra,more\n", "line 3"),
        ('model,strategy\na,"tp\n', "not a readable CSV"),
    ],
)
def test_broken_csv_is_refused_in_one_line(tmp_path: Path, text: str, problem: str) -> None:
    path = write(tmp_path / "r.csv", text)
    with pytest.raises(BadFile, match=problem) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("rest", ["b,ep,2", "b,ep,2,"])
def test_a_row_longer_than_the_header_does_not_shift_its_cells(tmp_path: Path, rest: str) -> None:
    path = write(tmp_path / "r.csv", f"model,strategy,workload\na,tp,1,234.5\n{rest}\n")
    with pytest.raises(BadFile, match="more cells than the header"):
        load(path)


def test_what_a_spreadsheet_and_pandas_write_beside_a_table_is_no_part_of_it(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "r.csv", ", model ,strategy\n0,a,tp\n2,b,ep\n , ,\n")
    frame = load(path)
    assert frame["model"].tolist() == ["a", "b"]
    assert set(frame) == {"model", "strategy", "source_file", "source_row"}


def test_a_column_without_a_name_that_does_not_count_rows_keeps_them_apart(tmp_path: Path) -> None:
    rows = "vllm,a,tp,1\nsglang,a,tp,2\n"
    frame = load(write(tmp_path / "r.csv", f",model,strategy,output_throughput\n{rows}"))
    assert kept_apart(frame) == ("Unnamed: 0",)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"model,strategy\n\xff\xfe\x00,tp\n")
    with pytest.raises(BadFile, match="is no UTF-8 text"):
        load(path)


def test_a_truncated_parquet_is_refused(tmp_path: Path, study: Study) -> None:
    path = tmp_path / "r.parquet"
    study().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadFile, match="not a readable Parquet file"):
        load(path)


def test_another_format_says_how_to_import_it(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="moeserve import"):
        load(write(tmp_path / "v.json", "{}"))


def test_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        load(tmp_path / "absent.csv")
    with pytest.raises(BadValue, match="a results directory"):
        load()


def test_a_run_in_two_inputs_is_refused(tmp_path: Path, study: Study) -> None:
    for name in ("a.csv", "b.csv"):
        study().to_csv(tmp_path / name, index=False)
    with pytest.raises(BadFile, match=r"b\.csv: column 'run_id', row 1: .* is there already"):
        load(tmp_path / "a.csv", tmp_path / "b.csv")


def test_other_spellings_of_a_strategy_are_one_level(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "strategy\nhybrid\ntp2+dp2+ep\ntp+ep\nmy own\n")
    assert load(path)["strategy"].tolist() == ["tp+ep"] * 3 + ["my own"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model,mean_ttft_s\na,0.1\n", "has mean_ttft_ms, in milliseconds"),
        ("model,duration_ms\na,100\n", "duration, in seconds"),
        ("model,unit\na,tok/s\nb,tok/min\n", "column 'unit', row 2: mixed units"),
        ("mean_ttft_ms,mean_e2el_ms\n20,900\n20,0.1\n", "column 'mean_e2el_ms', row 2"),
        (
            "total_output_tokens,duration,output_throughput\n1000,10,100\n1000,10000,100\n",
            "column 'duration', row 2",
        ),
        (
            "mean_e2el_ms,request_throughput,max_concurrency\n1000,4,4\n1000000,4,4\n",
            "column 'mean_e2el_ms', row 2",
        ),
    ],
)
def test_mixed_units_are_named_by_column_and_row(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(BadFile, match=problem):
        load(write(tmp_path / "r.csv", text))


def test_a_table_comes_through_a_pipe_as_from_a_file(tmp_path: Path) -> None:
    text = "model,strategy,output_throughput\nOLMoE-1B-7B,tp,900\n"
    file = tmp_path / "rows.csv"
    file.write_text(text)
    out, into = os.pipe()
    os.write(into, text.encode())
    os.close(into)
    piped = load(Path(f"/dev/fd/{out}"))
    os.close(out)
    assert piped.drop(columns="source_file").equals(load(file).drop(columns="source_file"))


def test_a_column_of_a_results_directory_is_as_typed_reads_its_texts() -> None:
    columns: dict[str, list[ColumnValue]] = {
        "ep": [True, None, True, False, True],
        "request_rate": [None] * 5,
        "tp": [2, None, 4, 2, 2],
        "model": ["a", "b ", "a", "a", None],
        "own": [None] * 5,
    }
    rows = [{name: values[n] for name, values in columns.items()} for n in range(5)]
    found = rows_frame(rows, "here")
    for name, values in columns.items():
        wanted = typed(pd.Series(values, name=name, dtype=object), "here")
        pd.testing.assert_series_equal(found[name], wanted)
