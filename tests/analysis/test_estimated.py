"""Measured runs beside what the analytic model expects of them."""

import pandas as pd
import pytest

from analysis.estimated import estimates_of
from analysis.frame import load
from analysis.report.words import agreement_sentences
from analysis.series import residuals
from catalog.errors import BadFile
from orchestrator.experiment import Experiment
from orchestrator.study import prepare, run_study


@pytest.fixture
async def measured(tmp_path) -> pd.DataFrame:
    """Simulated runs passed off as measured, and 10 % better than the model: only for this test."""
    experiment = Experiment(
        engine="simulated", strategies=("tp", "ep"), workloads=("64:16:32",), concurrency="1,8"
    )
    await run_study(await prepare(experiment), tmp_path / "out", listen=lambda _: None)
    frame = load(tmp_path / "out")
    return frame.assign(provenance="measured", output_throughput=frame["output_throughput"] * 1.1)


def test_an_estimate_is_what_the_simulated_engine_gives_for_the_same_condition(measured) -> None:
    ratio = residuals(measured)["ratio"]
    assert len(ratio) == 4
    assert ratio.to_numpy() == pytest.approx([1.1] * 4)


def test_the_report_says_how_far_measurement_and_estimate_are_apart(measured) -> None:
    told = agreement_sentences(measured)
    assert len(told) == 2
    assert all("measured is 1.10 times estimated" in line for line in told)


def test_what_the_catalog_does_not_know_gets_no_estimate(measured) -> None:
    unknown = measured.assign(gpu_type="CPU")
    assert estimates_of(unknown).empty
    assert estimates_of(measured.assign(model="somebody/else")).empty
    with pytest.raises(BadFile, match="has a model and a GPU with an estimate"):
        residuals(unknown)
