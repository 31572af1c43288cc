"""Imported runs are repeats of each other by the same rule as all other rows."""

from pathlib import Path

from analysis.importers.files import import_files
from orchestrator.table import run_rows

DATA = Path(__file__).parent / "data"


def test_a_cell_of_an_import_is_a_configuration_and_numbers_its_repeats(tmp_path: Path) -> None:
    import_files([DATA], tmp_path / "out")
    rows = run_rows(tmp_path / "out")
    pairs = {(row["cell_id"], row["configuration"]) for row in rows}
    assert len(pairs) == len({row["cell_id"] for row in rows})
    assert len(pairs) == len({row["configuration"] for row in rows})
    numbers = [(row["configuration"], row["replicate"]) for row in rows]
    assert len(set(numbers)) == len(rows)
