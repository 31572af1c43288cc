"""The commands keep their keys and exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from moeserve.cli import main

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def called(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return called


def test_select_prints_every_row_with_its_rank_refusal_and_front(call: Call) -> None:
    code, out, err = call(
        "select", "mixtral-a6000", "--minimize", "tpot_s", "--subject-to",
        "gpu_memory_mib <= 16384 MiB", "--format", "json",
    )  # fmt: skip
    rows = json.loads(out)
    assert code == 0
    assert len(rows) == 11
    assert rows[0]["method"] == "Mixtral-Offloading (expert=2)"
    assert all({"rank", "rejected_because", "pareto"} <= set(row) for row in rows)
    assert "choice: Mixtral-Offloading (expert=2)" in err


def test_an_infeasible_select_still_prints_the_rows_and_ends_with_4(call: Call) -> None:
    code, out, err = call(
        "select", "mixtral-a6000", "--minimize", "tpot_s", "--subject-to",
        "gpu_memory_mib <= 5000 MiB and perplexity < 10", "--format", "json",
    )  # fmt: skip
    assert code == 4
    assert len(json.loads(out)) == 11
    assert "nearest: gpu_memory_mib <= 8068 MiB" in err


def test_recommend_has_its_keys(call: Call) -> None:
    code, out, err = call(
        "predict", "recommend", "-m", "OLMoE-1B-7B", "--hardware", "H100", "--gpus", "2",
        "--format", "json",
    )  # fmt: skip
    keys = {
        "strategy", "expected_output_throughput", "probability", "source", "regret_estimate",
    }  # fmt: skip
    assert code == 0
    assert all(keys <= set(row) for row in json.loads(out))
    assert err.count("moeserve run ") == 3


@pytest.mark.parametrize("objective", ["throughput", "throughput-per-gpu", "price"])
def test_each_option_has_bounds_of_throughput_and_latencies_under_every_objective(
    call: Call, objective: str
) -> None:
    code, out, _ = call(
        "predict", "recommend", "-m", "OLMoE-1B-7B", "--hardware", "H100", "--gpus", "2",
        "--objective", objective, "--format", "json",
    )  # fmt: skip
    assert code == 0
    for row in json.loads(out):
        for name in ("output_throughput", "mean_ttft_ms", "mean_tpot_ms"):
            expected = row[f"expected_{name.removeprefix('mean_')}"]
            assert row[f"low_{name}"] < expected < row[f"high_{name}"]
        spread = row["high_output_throughput"] / row["low_output_throughput"]
        assert spread == pytest.approx(row["high"] / row["low"])


@pytest.mark.slow
def test_fit_and_evaluate_work_from_a_table(
    call: Call, study: pd.DataFrame, tmp_path: Path
) -> None:
    table, stored = tmp_path / "study.parquet", tmp_path / "p.npz"
    study.to_parquet(table, index=False)
    assert call("predict", "fit", str(table), "-o", str(stored))[0] == 0
    code, out, err = call(
        "predict", "evaluate", str(table), "--split", "leave-one-hardware-out", "--format", "json"
    )
    assert code == 0
    assert {"split", "accuracy", "majority_baseline", "mean_regret"} <= set(json.loads(out)[0])
    assert "not how real servers behave" in err
    asked = ("predict", "recommend", "-m", "olmoe", "--hardware", "H100", "--gpus", "2",
             "--predictor", str(stored))  # fmt: skip
    assert call(*asked)[0] == 0
    assert call(*asked, "--objective", "price")[0] == 2


@pytest.mark.slow
def test_published_measurements_judge_and_teach_without_results_of_ones_own(
    call: Call, tmp_path: Path
) -> None:
    code, _, err = call("predict", "evaluate")
    assert code == 2
    assert "--field" in err
    assert call("predict", "evaluate", "--field", "--objective", "goodput")[0] == 2
    code, out, err = call("predict", "evaluate", "--field", "--format", "json")
    assert code == 0
    assert {row["split"] for row in json.loads(out)} == {"leave-one-source-out"}
    assert "published: " in err
    stored = tmp_path / "p.npz"
    assert call("predict", "fit", "--field", "-o", str(stored))[0] == 0
    code, out, err = call(
        "predict", "recommend", "-m", "gpt-oss-120b", "--hardware", "H100", "--gpus", "2",
        "--predictor", str(stored), "--format", "json",
    )  # fmt: skip
    assert code == 0
    assert all({"low", "high", "tied_with"} <= set(row) for row in json.loads(out))
    assert "imported options" in err


@pytest.mark.slow
def test_table_vi_is_judged_without_results_of_ones_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", "evaluate", "--published", "--format", "json"])
    assert ended.value.code == 0
    found = {row["method"]: row["accuracy"] for row in json.loads(capsys.readouterr().out)}
    assert found["always-tp"] == pytest.approx(7 / 9)
    assert found["paper-heuristic"] == pytest.approx(5 / 9)


ASKED = ("-m", "OLMoE-1B-7B", "--hardware", "H100", "--gpus", "2")


@pytest.mark.parametrize("command", ["recommend", "switch"])
def test_what_no_run_would_take_is_not_recommended(call: Call, command: str) -> None:
    code, _, err = call("predict", command, *ASKED, "-w", "8000:10:5")
    assert code == 2
    assert "prompt and answer of 4096 tokens together, not 8010" in err
    code, _, err = call("predict", command, *ASKED, "-m", "LLaDA-MoE-7B")
    assert code == 2
    assert "a model that decodes token by token" in err


@pytest.mark.parametrize("command", ["recommend", "switch"])
@pytest.mark.parametrize(
    ("name", "known"), [("vllm-2026", "of 216 published"), ("roofline", "compared with no")]
)
def test_an_answer_rests_on_what_is_known_of_its_own_calibration(
    call: Call, command: str, name: str, known: str
) -> None:
    _, _, err = call("predict", command, *ASKED, "-s", "tp,ep", "--calibration", name)
    assert err.count(f"calibration {name}: {known}") == 1
    assert "published measurements, of values" not in err


def test_a_calibration_that_is_the_predictor_s_own_may_be_named(call: Call, tmp_path: Path) -> None:
    table, stored = tmp_path / "runs.csv", tmp_path / "p.npz"
    rows = [
        {"provenance": "measured", "model": "OLMoE-1B-7B", "strategy": strategy, "gpu_type": "H100",
         "input_len": 128, "output_len": 64, "num_prompts": 16, "max_concurrency": load,
         "output_throughput": rate * load}
        for strategy, rate in (("tp", 10.0), ("ep", 12.0)) for load in (4, 8)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(table, index=False)
    assert call("predict", "fit", str(table), "-o", str(stored))[0] == 0
    asked = ("predict", "recommend", *ASKED, "--predictor", str(stored), "--calibration")
    assert call(*asked, "vllm-2026")[0] == 0
    code, _, err = call(*asked, "roofline")
    assert code == 2
    assert "allowed: vllm-2026, as the predictor's features" in err


@pytest.mark.parametrize(
    "flag", [("--split", "leave-one-model-out"), ("--tie", "0.1"), ("--where", "model=OLMoE-1B-7B")]
)
def test_a_flag_about_results_is_refused_where_published_measurements_alone_are_judged(
    call: Call, flag: tuple[str, str]
) -> None:
    code, out, err = call("predict", "evaluate", "--field", *flag)
    assert (code, out) == (2, "")
    assert f"{flag[0]}: got" in err
    assert "RESULTS" in err
