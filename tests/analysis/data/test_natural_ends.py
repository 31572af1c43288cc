"""Answers of natural and of forced lengths are never averaged unasked, whatever the axes."""

import pandas as pd
import pytest

from analysis.data.conditions import Pooling, kept_apart, levels


def frame(*ends: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": "m",
            "strategy": ["tp", "ep"] * len(ends),
            "workload": [f"w{n}" for n in range(len(ends)) for _ in range(2)],
            "output_ends": [each for each in ends for _ in range(2)],
            "provenance": "measured",
            "output_throughput": range(2 * len(ends)),
        }
    )


def test_they_are_kept_apart_though_the_workload_settles_them() -> None:
    mixed = frame("", "natural")
    assert kept_apart(mixed) == ("output_ends",)
    assert levels(mixed, "output_ends") == "natural, none"


@pytest.mark.parametrize("ends", [("", ""), ("natural", "natural")])
def test_where_all_end_alike_nothing_is_said(ends: tuple[str, ...]) -> None:
    assert kept_apart(frame(*ends)) == ()


def test_who_asks_for_it_has_them_pooled() -> None:
    assert kept_apart(frame("", "natural"), Pooling(pool=("output_ends",))) == ()
