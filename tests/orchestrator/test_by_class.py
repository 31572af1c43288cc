"""A row for each class of a run: their counts and rates add up, and nobody pools them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.compare import compare
from moeserve.cli import main
from orchestrator.by_class import class_rows
from orchestrator.experiment.experiment import Experiment
from orchestrator.study import prepare, run_study
from orchestrator.table import request_table, run_rows

MIX = "chat=200-800:50-200:40@0.75+sum=2000~0.1:64:40@0.25"


async def run(root: Path, **asked: Any) -> None:
    usual = {"models": ("OLMoE-1B-7B",), "engine": "simulated", "hardware": "H100"}
    usual |= {"strategies": ("tp", "ep"), "concurrency": "8", "num_runs": 2, "noise": 0.02}
    await run_study(await prepare(Experiment(**{**usual, **asked})), root, listen=lambda _: None)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mixed") / "out"
    limits = {"ttft": 1e5, "sum.ttft": 1e-3}
    asyncio.run(run(root, workloads=(MIX,), goodput=limits))
    return root


@pytest.mark.slow
def test_the_classes_of_a_run_add_up_to_it(mixed: Path) -> None:
    classes = pd.DataFrame(class_rows(mixed, "part"))
    for whole in run_rows(mixed):
        mine = classes[classes["run_id"].str.startswith(f"{whole['run_id']}:")]
        assert sorted(mine["part"]) == ["chat", "sum"]
        assert sorted(mine["requests"]) == [16, 48]
        for name in ("completed", "total_input_tokens", "total_output_tokens"):
            assert mine[name].sum() == whole[name]
        assert mine["output_throughput"].sum() == pytest.approx(whole["output_throughput"])
        means = (mine["mean_ttft_ms"] * mine["completed"]).sum() / whole["completed"]
        assert means == pytest.approx(whole["mean_ttft_ms"])


def test_goodput_goes_by_the_limits_of_the_class(mixed: Path) -> None:
    for row in class_rows(mixed, "part"):
        assert row["slo_attainment"] == (1.0 if row["part"] == "chat" else 0.0)


def test_a_percentile_of_a_small_class_is_empty(mixed: Path) -> None:
    rows = class_rows(mixed, "part")
    assert all(row["p99_ttft_ms"] is None and row["median_ttft_ms"] for row in rows)


def test_a_comparison_keeps_the_classes_apart(mixed: Path) -> None:
    found = compare(pd.DataFrame(class_rows(mixed, "part")))
    strata = {dict(each.stratum.key)["workload"] for each in found.contrasts}
    assert {str(name).rpartition(" ")[2] for name in strata} == {"part=chat", "part=sum"}


def test_turns_are_classes_in_their_order(tmp_path: Path) -> None:
    asyncio.run(run(tmp_path, workloads=("64:32:48,turns=12",), strategies=("tp",), num_runs=1))
    rows = class_rows(tmp_path, "turn")
    assert [row["turn"] for row in rows] == list(range(12))
    lengths = [row["mean_input_tokens"] for row in rows]
    assert lengths == sorted(lengths)
    (alone,) = class_rows(tmp_path, "part")
    assert (alone["part"], alone["requests"]) == ("", 48)


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.slow
def test_anova_takes_the_class_as_a_factor(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = called(capsys, "results", str(mixed), "--by", "part", "--format", "csv")
    assert code == 0
    table = tmp_path / "parts.csv"
    table.write_text(out)
    factors = ["--factor", "part", "--factor", "strategy", "--response", "mean_ttft_ms"]
    code, out, err = called(capsys, "anova", str(table), *factors, "--format", "json")
    assert code == 0, err
    assert {"part", "strategy"} <= {row["factor"] for row in json.loads(out)}


@pytest.mark.parametrize(
    "words",
    [("--by", "session"), ("--by", "part", "--requests"), ("--by", "part", "--format", "parquet")],
)
def test_what_is_no_class_is_refused(
    words: tuple[str, ...], mixed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = called(capsys, "results", str(mixed), *words)
    assert (code, out, "--by" in err) == (2, "", True)


async def test_each_part_and_each_turn_has_a_row_of_its_own_requests(tmp_path: Path) -> None:
    experiment = Experiment(
        models=("OLMoE-1B-7B",),
        strategies=("single",),
        hardware="H100",
        engine="simulated",
        workloads=("chat=64:8,turns=2,think=1@3+long=300:4@1,prompts=40",),
        request_rates=(40.0,),
        rate_curve="steps:1x1,2x1",
        goodput={"chat.ttft": 1e6, "long.ttft": 1e-3},
    )
    await run_study(await prepare(experiment), tmp_path / "out", listen=lambda _: None)
    chat, long = class_rows(tmp_path / "out", "part")
    assert chat["rate_curve"] == "steps:1x1,2x1", "what the run was under, the class was"
    assert "input_len" not in chat
    assert (chat["part"], chat["requests"], chat["slo_attainment"]) == ("chat", 30, 1.0)
    assert (long["part"], long["requests"], long["slo_attainment"]) == ("long", 10, 0.0)
    assert (long["mean_input_tokens"], long["mean_output_tokens"]) == (300.0, 4.0)
    assert chat["mean_input_tokens"] == (64 + 136) / 2
    first, second = class_rows(tmp_path / "out", "turn")
    assert (first["turn"], first["requests"]) == (0, 25)
    assert (second["turn"], second["requests"], second["mean_input_tokens"]) == (1, 15, 136.0)
    assert second["p99_ttft_ms"] is None, "a percentile of fewer requests than carry it is empty"
    table = request_table(tmp_path / "out")
    asked, sent = table["input_len"].to_pylist(), table["input_tokens"].to_pylist()
    assert asked == sent
