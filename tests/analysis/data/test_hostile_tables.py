"""Tables of somebody else: bounded before they are expanded, and each fault one line."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.data import parquet
from analysis.data.read import read_table
from catalog.errors import BadFile
from moeserve.cli import main

COLUMNS: dict[str, Any] = {
    "model": ["m"] * 8,
    "strategy": ["tp", "ep"] * 4,
    "workload": ["w"] * 8,
    "max_concurrency": [1, 1, 2, 2] * 2,
    "num_gpus": [2] * 8,
    "output_throughput": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    "run_id": list("abcdefgh"),
    "replicate": [0] * 4 + [1] * 4,
}


def ended(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    try:
        main([str(each) for each in arguments])
    except SystemExit as stop:
        return int(stop.code or 0), capsys.readouterr().err.strip().splitlines()
    return 0, []


def written(path: Path, change: dict[str, Any]) -> Path:
    pq.write_table(pa.table(COLUMNS | change), path)
    return path


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("output_throughput", [1e308] * 8, "is above"),
        ("output_throughput", [-1.0] * 8, "is below zero"),
        ("output_throughput", [float("inf")] * 8, "is not a finite number"),
        ("max_concurrency", pa.array([2**64 - 1] * 8, pa.uint64()), "is above"),
        ("max_concurrency", [2**63 - 1] * 8, "is above"),
        ("mean_ttft_ms", [-0.1] * 8, "is below zero"),
        ("model", [b"\xff\x00"] * 8, "holds bytes that are no text"),
    ],
)
def test_a_value_that_cannot_be_is_one_line_with_its_place(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, column: str, values: Any, told: str
) -> None:
    path = written(tmp_path / "t.parquet", {column: values})
    code, said = ended(capsys, "tables", path)
    assert (code, len(said)) == (2, 1)
    assert told in said[0]
    assert column in said[0]


def test_bytes_that_are_text_are_read_as_text(tmp_path: Path) -> None:
    frame = read_table(written(tmp_path / "t.parquet", {"model": [b"m"] * 8}))
    assert list(frame["model"]) == ["m"] * 8


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = pa.table(COLUMNS)
    twice = pa.Table.from_arrays(
        [*table.columns, table["model"]], names=[*table.column_names, "model"]
    )
    pq.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(BadFile, match="'model' is there twice"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.slow
def test_rows_and_columns_beyond_any_study_are_refused_by_the_files_own_count(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.parquet"
    million = pa.table({name: pa.repeat(values[0], 1_000_000) for name, values in COLUMNS.items()})
    with pq.ParquetWriter(path, million.schema, compression="zstd") as file:
        for _ in range(3):
            file.write_table(million)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(BadFile, match="3,000,000 rows"):
        read_table(path)
    wide = tmp_path / "wide.csv"
    wide.write_text(",".join(f"c{i}" for i in range(60_000)) + "\n")
    with pytest.raises(BadFile, match="60000 columns"):
        read_table(wide)


def test_texts_that_would_expand_to_gigabytes_are_refused_before_they_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"model": ["x" * 20_000] * 1_000}), path)
    monkeypatch.setattr(parquet, "MOST_BYTES", 10_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(BadFile, match="more than 10,000,000 bytes"):
        read_table(path)


@pytest.mark.slow
@pytest.mark.parametrize("value", ["0", "1e-320", "nan"])
@pytest.mark.parametrize("command", ["tables", "report", "compare"])
def test_throughput_of_zero_or_nothing_ends_no_analysis_with_a_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, value: str
) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame(COLUMNS | {"output_throughput": [value] * 8}).to_csv(path, index=False)
    output = ["-o", tmp_path / "r.html"] if command == "report" else []
    code, _ = ended(capsys, command, path, *output)
    assert code in (0, 2)


def test_a_response_without_a_square_is_refused_where_it_is_used(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = written(tmp_path / "t.parquet", {"own": [1e300] * 8})
    assert len(read_table(path)) == 8
    code, said = ended(capsys, "compare", path, "--response", "own", "--better", "higher")
    assert (code, len(said)) == (2, 1)
    assert "above 1e+100" in said[0]


@pytest.mark.slow
def test_a_report_of_more_labels_than_a_page_can_show_is_refused_with_the_way_out(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    names = [f"m{i}" for i in range(20_000)]
    table = {name: [values[0]] * len(names) for name, values in COLUMNS.items()}
    pd.DataFrame(table | {"model": names, "run_id": names}).to_csv(path, index=False)
    code, said = ended(capsys, "report", path, "-o", tmp_path / "r.html")
    assert (code, len(said)) == (2, 1)
    assert "20,000 of model, workload, strategy" in said[0]
    assert "--where" in said[0]
    assert not (tmp_path / "r.html").exists()
