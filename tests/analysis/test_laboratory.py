"""Does the winner change from the laboratory's load to traffic? By hand, and on the page."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.laboratory import change_sentences, winner_changes
from analysis.predict.read import NOT_USED, read_cases
from orchestrator.measured_runs import measured_runs
from workloads.load.profiles import PROFILES, TEXTS, is_laboratory, is_traffic

LAB, REAL = "1024:512:20", "512~0.5:128~1:200"


def frame(ratios: dict[str, float], runs: int = 6, spread: float = 0.005) -> pd.DataFrame:
    """Two strategies under each workload: `ratios` are tp's throughput over ep's."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "model": "m", "workload": workload, "max_concurrency": 8, "block": block,
            "replicate": block, "strategy": strategy, "verdict": "valid", "provenance": "measured",
            "run_id": f"{workload}-{block}-{strategy}",
            "output_throughput": 100 * value * np.exp(rng.normal(0, spread)),
        }
        for workload, ratio in ratios.items()
        for block in range(runs)
        for strategy, value in (("tp", ratio), ("ep", 1.0))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_winner_that_is_shown_on_both_sides_changes_or_does_not() -> None:
    for ratio, changes, leader in ((0.8, "yes", "ep"), (1.3, "no", "tp")):
        (row,) = winner_changes(frame({LAB: 1.2, REAL: ratio})).to_dict("records")
        assert (row["laboratory"], row["traffic"]) == (LAB, REAL)
        assert (row["leader_laboratory"], row["leader_traffic"]) == ("tp", leader)
        assert (row["changes"], row["against"]) == (changes, "ep")
        assert row["ratio_laboratory"] == pytest.approx(1.2, rel=0.01)
        assert row["ratio_traffic"] == pytest.approx(ratio, rel=0.01)
        assert row["change"] == pytest.approx(ratio / 1.2, rel=0.01)
        # Six pairs each, whose logarithms scatter by sqrt(2) · 0.005: some 0.9 % to either side.
        assert 0.985 < row["change_low"] / row["change"] < 0.999
        assert 1.001 < row["change_high"] / row["change"] < 1.015


@pytest.mark.parametrize(("runs", "spread", "traffic"), [
    (6, 0.005, 1.0),  # ahead by nothing
    (1, 0.005, 0.8),  # one run shows no spread
    (6, 0.0, 0.8),  # copies of one simulated run
])  # fmt: skip
def test_what_the_runs_do_not_show_stays_open(runs: int, spread: float, traffic: float) -> None:
    (row,) = winner_changes(frame({LAB: 1.2, REAL: traffic}, runs, spread)).to_dict("records")
    assert row["changes"] == "open"
    if runs == 1 or not spread:
        assert pd.isna(row["change_low"])


def test_only_a_laboratory_workload_is_set_against_traffic_and_only_at_one_load() -> None:
    both_real = frame({"100-900:50-400:200": 1.2, REAL: 0.8})
    assert winner_changes(both_real).empty
    apart = frame({LAB: 1.2, REAL: 0.8})
    apart.loc[apart["workload"] == REAL, "max_concurrency"] = 16
    assert winner_changes(apart).empty


def test_each_pair_of_workloads_has_one_sentence() -> None:
    changes = winner_changes(frame({LAB: 1.2, "balanced": 1.2, REAL: 0.8, "trace:t#0a": 1.2}))
    sentences = change_sentences(changes)
    assert len(sentences) == 4
    (told,) = (s for s in sentences if f"from {LAB} to {REAL}" in s)
    assert told.startswith("Does the winner change from")
    assert "yes at concurrency 8 (tp, then ep; tp over ep: 1.20, then 0.80)." in told
    (kept,) = (s for s in sentences if f"from {LAB} to trace" in s)
    assert "no at concurrency 8 (tp leads both" in kept


def test_profiles_of_the_laboratory_are_told_from_those_of_real_use() -> None:
    assert all(map(is_laboratory, (*PROFILES, "1:2:auto", "1024:512:20")))
    assert not any(map(is_laboratory, (REAL, "1:2:3,prefix=9x2", "trace:a#0a", "chat")))
    assert is_laboratory("balanced")
    assert set(PROFILES) < set(TEXTS)


@pytest.mark.parametrize(("name", "traffic"), [
    (LAB, False), ("balanced", False), ("sharegpt", False), ("", False), ("nan", False),
    (REAL, True), ("1:2:3,prefix=9x2", True), ("chat", True), ("trace:gone.jsonl#0a1b2c3d", True),
    ("a=1:2:3@1+b=file:gone.jsonl@2", True), (f"{LAB} turn=0", True), (f"{REAL} part=chat", True),
])  # fmt: skip
def test_traffic_is_told_by_its_text_alone(name: str, traffic: bool) -> None:
    assert is_traffic(name) == traffic


def test_neither_a_fit_nor_the_predictor_takes_a_mean_length_for_all_lengths() -> None:
    rows = frame({LAB: 1.2, REAL: 0.8}).assign(
        model="OLMoE-1B-7B", gpu_type="H100", num_prompts=20, input_len=512, output_len=128,
        source_file="f", source_row=1,
    )  # fmt: skip
    found = measured_runs(rows)
    assert len(found.runs) == (rows["workload"] == LAB).sum()
    assert found.left_out.total() == (rows["workload"] == REAL).sum()
    only = read_cases(rows)
    assert only.skipped[NOT_USED] == (rows["workload"] == REAL).sum()


@pytest.mark.slow
def test_one_file_with_three_layouts_ends_in_a_page_that_says_whether_the_winner_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from moeserve.cli import main

    trace = tmp_path / "trace.jsonl"
    rows = [
        f'{{"timestamp": {200 * i}, "input_length": {600 + 40 * (i % 9)}, "output_length": '
        f'{20 + 9 * (i % 13)}, "hash_ids": [0, {i + 1}]}}'
        for i in range(40)
    ]
    trace.write_text("\n".join(rows) + "\n")
    study = tmp_path / "study.yaml"
    study.write_text(
        "models: [Qwen3-30B-A3B]\nengine: simulated\nhardware: H100\nnum_runs: 4\nnoise: 0.02\n"
        "strategies: [tp4, dp4+ep, tp2+dp2+ep]\nconcurrency: '16'\n"
        f'workloads: ["1024:128:40", "100-900:20-200:40", "512~0.8:128~1.0:40", "trace:{trace}"]\n'
    )
    out, page = tmp_path / "out", tmp_path / "page.html"
    for words in (["run", str(study), "-o", str(out), "-q"], ["report", str(out), "-o", str(page)]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert not ended.value.code, capsys.readouterr().err
    text = page.read_text()
    for traffic in ("100-900:20-200:40", "512~0.8:128~1:40", "trace:trace.jsonl#"):
        assert f"Does the winner change from 1024:128:40 to {traffic}" in text
