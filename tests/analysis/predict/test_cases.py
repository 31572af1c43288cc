"""Only what can be compared is compared, and a tie is a tie."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.predict.cases import Cases, joined
from analysis.predict.read import DEFAULT_TIE, read_cases
from analysis.predict.splits import SPLITS, SplitName, folds
from catalog.errors import BadFile

ROW = {
    "provenance": "measured",
    "model": "OLMoE-1B-7B",
    "strategy": "tp",
    "gpu_type": "H100",
    "input_len": 128,
    "output_len": 64,
    "num_prompts": 16,
    "max_concurrency": 4,
    "output_throughput": 100.0,
}


def table(*changes: dict[str, object]) -> pd.DataFrame:
    return pd.DataFrame([ROW | change for change in changes])


def test_measured_and_simulated_rows_never_share_a_case() -> None:
    frame = table(
        {},
        {"strategy": "ep"},
        {"provenance": "simulated"},
        {"strategy": "ep", "provenance": "simulated"},
    )
    cases = read_cases(frame)
    assert cases.count == 2
    for number in range(2):
        assert len(set(cases.provenance[cases.case == number])) == 1


def test_throughput_is_compared_on_equal_gpus_alone() -> None:
    with pytest.raises(BadFile, match="no two known layouts"):
        read_cases(table({}, {"strategy": "tp+ep"}, {"strategy": "ep", "gpu_type": "A100-80GB"}))


def test_throughput_per_gpu_is_compared_over_any_number_of_them() -> None:
    cases = read_cases(table({}, {"strategy": "tp+ep"}), objective="throughput-per-gpu")
    assert cases.value.tolist() == [50.0, 25.0]


def test_tokens_per_dollar_follow_from_the_catalog_s_price() -> None:
    cases = read_cases(table({}, {"strategy": "ep"}), objective="price")
    assert cases.value[0] == pytest.approx(100 * 3600 / (2 * 3.99))


def test_what_is_unknown_invalid_or_open_loop_is_left_out_and_counted() -> None:
    frame = table(
        {"verdict": "valid"},
        {"strategy": "ep", "verdict": "valid"},
        {"strategy": "ep", "verdict": "invalid"},
        {"model": "no-such-model", "verdict": "valid"},
    )
    cases = read_cases(frame)
    assert len(cases.value) == 2
    assert sum(cases.skipped.values()) == 2


def test_replicates_are_averaged_and_their_noise_is_the_tie() -> None:
    rates = (98.0, 100.0, 102.0)
    rows: list[dict[str, object]] = [
        {"strategy": name, "output_throughput": rate} for name in ("tp", "ep") for rate in rates
    ]
    frame = table(*rows)
    cases = read_cases(frame)
    spread = np.log(rates).std(ddof=1)
    assert cases.value.tolist() == [100.0, 100.0]
    assert cases.tie == pytest.approx(1.96 * np.sqrt(2 / 3) * spread)
    assert cases.good.all()


def test_copies_of_one_simulated_run_are_no_evidence_of_noise() -> None:
    cases = read_cases(table({}, {}, {"strategy": "ep"}, {"strategy": "ep"}))
    assert cases.tie == DEFAULT_TIE


@pytest.mark.slow
@given(split=st.sampled_from(SPLITS[1:]), seed=st.integers(0, 99))
def test_no_model_or_gpu_is_on_both_sides_of_its_split(
    cases: Cases, split: SplitName, seed: int
) -> None:
    column = cases.model if split == "leave-one-model-out" else cases.hardware
    seen = np.zeros(len(cases.value), dtype=int)
    for mask in folds(cases, split, seed=seed):
        assert not set(column[mask]) & set(column[~mask])
        seen += mask
    assert (seen == 1).all()


@pytest.mark.slow
def test_random_fifths_cut_no_case_and_cover_all(cases: Cases) -> None:
    held = list(folds(cases, "random-80/20", seed=0))
    assert len(held) == 5
    assert (np.sum(held, axis=0) == 1).all()
    assert all(not set(cases.case[mask]) & set(cases.case[~mask]) for mask in held)


def test_parts_join_back_to_the_whole(cases: Cases) -> None:
    first = cases.case < 10
    again = joined([cases.only(first), cases.only(~first)])
    assert np.array_equal(again.case, cases.case)
    assert np.array_equal(again.value, cases.value)


@pytest.mark.parametrize("column", ["engine", "engine_version"])
def test_layouts_on_two_engines_are_no_decision_between_layouts(column: str) -> None:
    rows = table({column: "a"}, {"strategy": "ep", column: "b"})
    with pytest.raises(BadFile, match=f"layouts of one load differ in {column} .* --pool {column}"):
        read_cases(rows)
    assert read_cases(rows, pool=(column,)).count == 1
    assert read_cases(table({column: "a"}, {"strategy": "ep", column: "a"})).count == 1
