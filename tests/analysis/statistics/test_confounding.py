"""What else changes with a factor is said once, by the levels that show it."""

import pandas as pd

from analysis.statistics.confounding import MOST_LEVELS, uneven_notes

LENGTHS = {"short": 128, "long": 512}


def rows() -> pd.DataFrame:
    """Levels 1 to 6 of a load ran under both workloads, 7 and 8 under one each."""
    ran = [(load, name) for load in range(1, 7) for name in LENGTHS] + [(7, "short"), (8, "long")]
    return pd.DataFrame(
        [
            {"load": load, "workload": name, "input_len": LENGTHS[name], "tokens": 10.0 * load}
            for load, name in ran
        ]
    )


def test_columns_that_part_the_rows_alike_are_one_condition() -> None:
    (note,) = uneven_notes(rows(), "tokens", "load")
    assert "different workload, and with it input_len (" in note


def test_the_levels_that_are_farthest_from_the_rest_are_listed_and_the_others_counted() -> None:
    (note,) = uneven_notes(rows(), "tokens", "load")
    assert "7: short (1)" in note
    assert "8: long (1)" in note
    assert f"… {8 - MOST_LEVELS} more" in note
