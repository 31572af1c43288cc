"""What was given as a label is part of the condition, whatever its values look like."""

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.conditions import condition_columns, kept_apart, levels
from analysis.data.frame import load
from analysis.importers import Labels, import_files, parse_labels
from tests.analysis.importers.shapes import VLLM


def imported(written: Any, folder: Path, labels: list[str], **metadata: Any) -> pd.DataFrame:
    files = [
        written(
            {**VLLM, "duration": 10.0 + i, **{n: v[i] for n, v in metadata.items()}}, f"{i}.json"
        )
        for i in range(3)
    ]
    import_files(files, folder / "out", Labels(each=parse_labels(labels)))
    return load(folder / "out")


def test_fractions_that_a_user_gives_as_a_label_keep_rows_apart(
    written: Any, tmp_path: Path
) -> None:
    given = ["0.json:smoothing=0.31", "1.json:smoothing=0.47", "2.json:smoothing=0.53"]
    rows = imported(written, tmp_path, given)
    assert "smoothing" in condition_columns(rows)
    assert "smoothing" in kept_apart(rows.drop(columns="source"))
    assert rows["configuration"].nunique() == 3
    assert rows["configuration_text"].str.contains("smoothing 0.31").any()


def test_fractions_of_a_files_metadata_keep_rows_apart(written: Any, tmp_path: Path) -> None:
    rows = imported(written, tmp_path, [], top_p=[0.91, 0.92, 0.93])
    assert "top_p" in condition_columns(rows)
    assert rows["configuration"].nunique() == 3


def test_an_environment_that_is_named_tells_systems_apart(written: Any, tmp_path: Path) -> None:
    rows = imported(written, tmp_path, [], environment=["prod", "dev", "prod"])
    assert "environment" in condition_columns(rows)


def test_a_table_that_names_its_labels_is_believed_and_numbers_of_runs_stay_that() -> None:
    rows = pd.DataFrame({"alpha": [0.1, 0.2, 0.3], "noise": [1.1, 1.2, 1.3], "trial": [1, 2, 3]})
    assert condition_columns(rows) == []
    told = rows.assign(label_columns="alpha,trial")
    assert condition_columns(told) == ["alpha"]


def test_an_empty_cell_is_none_where_the_row_started_its_server_else_unknown() -> None:
    rows = pd.DataFrame({"server_args": ["", "--enforce-eager", None]})
    own = rows.assign(provenance="measured", endpoint="")
    assert levels(own, "server_args") == "--enforce-eager, none"
    assert levels(rows.assign(provenance="imported"), "server_args") == "--enforce-eager, unknown"
    assert levels(own.assign(endpoint="http://node:1"), "server_args").endswith("unknown")
    assert levels(rows, "server_args").endswith("unknown")
    assert levels(pd.DataFrame({"technique": ["none", "int4", ""]}), "technique") == (
        "int4, none, unknown"
    )
