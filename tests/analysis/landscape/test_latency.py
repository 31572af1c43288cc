"""The latency of a whole answer is derived by equation 1, from whatever times a table has."""

import pandas as pd
import pytest

from analysis.landscape.latency import latency_notes, with_latency
from analysis.landscape.objective import parse_objectives
from analysis.landscape.ranked_landscape import parse_criteria, rank_landscape
from analysis.landscape.read import read_landscape
from catalog.errors import BadFile


def test_the_published_landscape_s_latency_changes_its_order_with_the_length() -> None:
    def order(output_len: int, *limits: str) -> list[object]:
        frame = read_landscape("mixtral-a6000", output_len=output_len)
        criteria = parse_criteria(parse_objectives(["latency_s"], []), limits, how=None)
        return [row["method"] for row in rank_landscape(frame, criteria).rows() if row["rank"]]

    assert order(1)[:2] == ["Distillation 4x7B", "Mixtral-Offloading (expert=2)"]  # .73 and .91 s
    assert order(256)[0] == "Mixtral-Offloading (expert=2)"  # 0.65 + 256 · 0.26 = 67.21 s
    assert order(256, "latency_s <= 90 s") == [
        "Mixtral-Offloading (expert=2)",
        "Distillation 4x7B",  # 0.39 + 256 · 0.34 = 87.43 s
    ]


@pytest.mark.parametrize(
    ("first", "each"),
    [
        ("mean_ttft_ms", "mean_tpot_ms"),
        ("ttft_ms", "tpot_ms"),
        ("TTFT(ms)", "TPOT [ms]"),
        ("time_to_first_token_ms", "time_per_output_token_ms"),
    ],
)
def test_seconds_come_of_milliseconds_under_any_of_their_names(first: str, each: str) -> None:
    frame = pd.DataFrame({first: [100.0, None], each: [20.0, 20.0], "p99_ttft_ms": 1.0})
    found = with_latency(frame, 10)["latency_s"]
    assert found[0] == pytest.approx(0.1 + 10 * 0.02)
    assert pd.isna(found[1])


def test_the_note_names_the_columns_the_equation_and_other_lengths() -> None:
    frame = pd.DataFrame({"ttft_s": [1.0], "tpot_s": [0.1], "output_len": [128.0]})
    equation, measured = latency_notes(frame, 256)
    assert equation.startswith("latency_s = ttft_s + 256 · tpot_s (equation 1 of")
    assert "255 intervals after the first" in equation
    assert measured == "its times were measured with output_len 128, not 256"
    assert len(latency_notes(frame, 128)) == 1


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"tput": [1.0]}, "no column mean_ttft_ms or ttft_s and no column mean_tpot_ms or tpot_s"),
        ({"ttft_s": [1.0], "p99_tpot_ms": [1.0]}, "no column mean_tpot_ms or tpot_s"),
        ({"ttft_s": [1.0], "TPOT": [1.0]}, "--column 'TPOT=mean_tpot_ms'"),
        ({"ttft_s": [1.0], "ttft_ms": [1.0], "tpot_s": [1.0]}, "ttft_s and ttft_ms are both"),
        ({"ttft_s": [1.0], "tpot_s": ["quick"]}, "column 'tpot_s' holds text"),
        ({"ttft_s": [1.0], "tpot_s": [None]}, "column 'tpot_s' is empty"),
        ({"ttft_s": [1.0], "tpot_s": [1.0], "latency_s": [1.0]}, "has a column 'latency_s'"),
    ],
)
def test_what_it_cannot_be_derived_from_is_named(
    columns: dict[str, list[object]], problem: str
) -> None:
    with pytest.raises(BadFile) as refused:
        with_latency(pd.DataFrame(columns), 10)
    assert problem in str(refused.value)
