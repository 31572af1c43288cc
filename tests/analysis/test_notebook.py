"""The example notebook runs from its first cell to its last."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

Study = Callable[..., pd.DataFrame]

EXAMPLE = Path(__file__).parents[2] / "examples" / "notebook.py"


@pytest.mark.slow
def test_the_notebook_runs_on_a_table_of_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    study: Study,
) -> None:
    """Slow because it draws four figures of 126 runs."""
    table = tmp_path / "study.csv"
    study().query("model != 'Mixtral-8x7B'").to_csv(table, index=False)
    monkeypatch.setattr(sys, "argv", ["notebook.py", str(table), str(tmp_path / "figures")])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert "Table VI (simulated)" in printed
    assert "max_concurrency: F = " in printed
    assert len(list((tmp_path / "figures").glob("*.svg"))) == 4
