"""Measured runs beside what the analytic model expects of them."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis.data.estimated import estimates_of
from analysis.data.frame import load
from analysis.report.sentences import agreement_sentences
from analysis.series import residuals
from catalog.errors import BadFile, UnknownName
from orchestrator.experiment.experiment import Experiment
from orchestrator.study import prepare, run_study
from strategies.own_gpus import find_gpu, kept_gpus


@pytest.fixture
async def measured(tmp_path: Path) -> pd.DataFrame:
    """Simulated runs passed off as measured, and 10 % better than the model: only for this test."""
    experiment = Experiment(
        engine="simulated", strategies=("tp", "ep"), workloads=("64:16:32",), concurrency="1,8"
    )
    await run_study(await prepare(experiment), tmp_path / "out", listen=lambda _: None)
    frame = load(tmp_path / "out")
    return frame.assign(provenance="measured", output_throughput=frame["output_throughput"] * 1.1)


@pytest.mark.slow
def test_an_estimate_is_what_the_simulated_engine_gives_for_the_same_condition(
    measured: pd.DataFrame,
) -> None:
    ratio = residuals(measured)["ratio"]
    assert len(ratio) == 4
    assert ratio.to_numpy() == pytest.approx([1.1] * 4)


@pytest.mark.slow
def test_the_report_says_how_far_measurement_and_estimate_are_apart(measured: pd.DataFrame) -> None:
    told = agreement_sentences(measured)
    assert len(told) == 2
    assert all("measured is 1.10 times estimated" in line for line in told)


@pytest.mark.slow
def test_what_the_catalog_does_not_know_gets_no_estimate(measured: pd.DataFrame) -> None:
    unknown = measured.assign(gpu_type="CPU")
    assert estimates_of(unknown).empty
    assert estimates_of(measured.assign(model="somebody/else")).empty
    with pytest.raises(BadFile, match="has a model and a GPU with an estimate"):
        residuals(unknown)


@pytest.mark.slow
def test_a_users_own_gpu_has_an_estimate_while_its_row_is_kept(
    measured: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    kept = tmp_path / "moeserve" / "hardware.json"
    kept.parent.mkdir()
    row = {
        "hardware": "Mine",
        "memory_bytes": 90e9,
        "bandwidth_bytes_per_s": 3e12,
        "bfloat16_flops_per_s": 9e14,
        "gpus_per_node": 8,
        "intra_node_bytes_per_s": 3e11,
    }
    kept.write_text(json.dumps(row))
    (mine,) = kept_gpus()
    own = measured.assign(gpu_type=mine.name)
    assert len(estimates_of(own)) == 4
    kept.write_text(json.dumps(row | {"memory_bytes": 91e9}))
    with pytest.raises(UnknownName, match="With other numbers there is Mine#"):
        find_gpu(mine.name)
    assert estimates_of(own).empty
