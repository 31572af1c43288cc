"""A choice is among conditions: replicates are one row, and the order of rows says nothing."""

from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.data.conditions import Pooling
from analysis.landscape.objective import parse_objectives
from analysis.landscape.ranked_landscape import RankedLandscape, parse_criteria, rank_landscape
from analysis.landscape.ranking import UnknownPolicy
from analysis.landscape.read import read_landscape
from analysis.landscape.replicates import one_row_a_condition, undecided_notes
from catalog.errors import BadFile, BadValue

RUNS = pd.DataFrame(
    {
        "config": ["a", "b", "a", "b", "a"],
        "tput": [100.0, 250.0, 300.0, 250.0, 104.0],
        "TTFT(ms)": [5.1, 5.3, 5.2, 5.4, 5.0],
    }
)


def best(frame: pd.DataFrame, *limits: str, large: str = "tput") -> RankedLandscape:
    criteria = parse_criteria(parse_objectives([], [large]), limits, how=None)
    return rank_landscape(frame, criteria)


def read(tmp_path: Path, frame: pd.DataFrame, *pool: str, large: str = "tput") -> pd.DataFrame:
    path = tmp_path / "runs.csv"
    frame.to_csv(path, index=False)
    return read_landscape(str(path), pooling=Pooling(pool=pool), objectives=[large])


def test_the_best_condition_is_chosen_and_not_the_best_run(tmp_path: Path) -> None:
    found = best(read(tmp_path, RUNS))
    first, second = found.rows()
    assert (first["config"], first["tput"], first["replicates"]) == ("b", 250, 2)
    assert (second["config"], second["tput"], second["replicates"]) == ("a", 168, 3)
    assert found.notes[0] == "choice: b (mean of 2 runs; largest tput; lexicographic)"


def test_a_choice_that_is_one_run_among_averaged_ones_says_so(tmp_path: Path) -> None:
    found = best(read(tmp_path, RUNS.iloc[[0, 1, 2]]))
    assert found.notes[0] == "choice: b (one run; largest tput; lexicographic)"


def test_rows_of_two_gpus_are_never_one_unless_told(tmp_path: Path) -> None:
    runs = RUNS.assign(gpu_type=["H100", "H100", "A100", "A100", "H100"])
    assert len(read(tmp_path, runs)) == 4
    pooled = read(tmp_path, runs, "gpu_type")
    assert sorted(pooled["replicates"]) == [2, 3]
    assert set(pooled["gpu_type"]) == {""}


def test_a_setting_that_may_be_a_result_keeps_rows_apart_and_says_so(tmp_path: Path) -> None:
    runs = pd.DataFrame({"method": ["x", "x", "y"], "mem": [0.5, 0.75, 0.9], "tput": [1.5, 2.5, 2]})
    kept = read(tmp_path, runs)
    assert len(kept) == 3
    assert best(kept).name(0) == "x, mem 0.5"
    (note,) = undecided_notes(kept, objectives=["tput"])
    assert "alike but for mem (0.5, 0.75, 0.9) are kept apart: --pool mem" in note
    numbered = runs.assign(replicate=[0, 1, 0])
    assert sorted(read(tmp_path, numbered)["tput"]) == [2, 2]


def test_rows_that_nothing_describes_stand_for_themselves(tmp_path: Path) -> None:
    found = best(read(tmp_path, RUNS[["tput", "TTFT(ms)"]]))
    assert len(found.rows()) == 5
    assert found.notes[0].startswith("choice: row 3 (")


def test_measured_and_simulated_rows_are_refused_together(tmp_path: Path) -> None:
    runs = RUNS.assign(provenance=["measured", "measured", "simulated", "measured", "measured"])
    with pytest.raises(BadValue, match="never pooled"):
        read(tmp_path, runs)


def test_means_are_not_averaged_again(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="means already"):
        read(tmp_path, RUNS.assign(replicates=[3, 1, 2, 1, 1]))


def test_a_value_that_not_every_replicate_has_is_said(tmp_path: Path) -> None:
    runs = RUNS.assign(p99_ttft_ms=[9.0, 8.0, 9.0, np.nan, 9.0])
    found = best(read(tmp_path, runs), "p99_ttft_ms <= 20 ms")
    assert found.rows()[0]["partly_known"] == "p99_ttft_ms in 1 of 2"
    assert "the choice has p99_ttft_ms in 1 of 2 runs only" in found.notes


def test_runs_that_do_not_count_are_in_no_mean_whatever_case_their_verdict_has(
    tmp_path: Path,
) -> None:
    verdicts = ["VALID", "valid", "Invalid", "valid", "valid"]
    found = best(read(tmp_path, RUNS.assign(verdict=verdicts, verdict_reasons="drift")))
    assert {row["tput"] for row in found.rows()} == {250, 102, 300}
    assert found.rows()[-1]["rejected_because"] == "run invalid: drift"


@pytest.mark.parametrize("values", [[0.1] * 3, [0.3, 0.1, 0.2], [1e16, 1.0, -1e16]])
def test_a_mean_is_that_of_the_set_to_the_last_bit(values: list[float]) -> None:
    frame = pd.DataFrame({"method": "m", "tput": values})
    (one,) = one_row_a_condition(frame, objectives=["tput"])["tput"]
    (other,) = one_row_a_condition(frame[::-1], objectives=["tput"])["tput"]
    assert one == other
    assert len(set(values)) > 1 or one == values[0]


def test_conditions_with_the_same_values_tie_whatever_stands_beside_each() -> None:
    values = [0.1, 0.7, 1.3]
    frame = pd.DataFrame(
        {"method": list("aaabbb"), "tput": values + values[::-1], "mean_ttft_ms": [1, 2, 3.5] * 2}
    )
    first, second = one_row_a_condition(frame, objectives=["tput"])["tput"]
    assert first == second


UNKNOWN: tuple[UnknownPolicy, ...] = ("refuse", "keep")
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "strategy": st.sampled_from(["tp", "ep", "tp+ep"]),
            "gpu_type": st.sampled_from(["H100", "A100", ""]),
            "max_concurrency": st.sampled_from([1.0, 16.0]),
            "output_throughput": st.sampled_from([0.1, 0.2, 0.3, 1.7, np.nan]),
            "mean_ttft_ms": st.sampled_from([0.1, 0.7, 1.1]),
            "verdict": st.sampled_from(["valid", "valid", "valid", "invalid"]),
        }
    ),
    min_size=1,
    max_size=10,
)


@pytest.mark.slow
@settings(max_examples=10)
@given(ROWS, st.randoms(use_true_random=False), st.sampled_from(UNKNOWN))
def test_shuffled_rows_give_the_same_rows_notes_and_refusal(
    rows: list[dict[str, object]], random: Random, unknown: UnknownPolicy
) -> None:
    frame = pd.DataFrame(rows)
    shuffled = frame.iloc[random.sample(range(len(frame)), len(frame))].reset_index(drop=True)
    criteria = parse_criteria(
        parse_objectives(["mean_ttft_ms"], ["output_throughput"]),
        ["mean_ttft_ms <= 0.8 ms"],
        how=None,
        unknown=unknown,
    )
    if frame["output_throughput"].isna().all():
        return
    told = []
    for each in (frame, shuffled):
        counts = (each["verdict"] == "valid").to_numpy()
        merged = one_row_a_condition(each[counts], objectives=["output_throughput"])
        found = rank_landscape(pd.concat([merged, each[~counts]], ignore_index=True), criteria)
        infeasible = found.infeasible if found.chosen is None else ""
        told.append(repr((found.rows(), found.notes, infeasible)))
    assert told[0] == told[1]


def test_the_hash_of_a_table_cut_to_fewer_columns_keeps_rows_apart_and_names_them(
    tmp_path: Path,
) -> None:
    found = best(read(tmp_path, RUNS.assign(configuration=["c1", "c2", "c3", "c2", "c1"])))
    assert [row["tput"] for row in found.rows()] == [300, 250, 102]
    assert found.name(found.chosen or 0) == "a, c3"
