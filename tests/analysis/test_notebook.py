"""The example notebook runs from its first cell to its last."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "notebook.py"


@pytest.mark.slow
def test_the_notebook_runs_on_a_table_of_runs(tmp_path, monkeypatch, capsys, study):
    """Slow because it draws four figures of 126 runs."""
    table = tmp_path / "study.csv"
    study().query("model != 'Mixtral-8x7B'").to_csv(table, index=False)
    monkeypatch.setattr(sys, "argv", ["notebook.py", str(table), str(tmp_path / "figures")])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    printed = capsys.readouterr().out
    assert "Table VI (simulated)" in printed
    assert "max_concurrency: F = " in printed
    assert len(list((tmp_path / "figures").glob("*.svg"))) == 4
