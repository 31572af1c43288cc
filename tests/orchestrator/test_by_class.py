"""The figures of each part of a mix and of each turn, from the rows of published runs."""

from pathlib import Path

from orchestrator.by_class import class_rows
from orchestrator.experiment.experiment import Experiment
from orchestrator.study import prepare, run_study
from orchestrator.table import request_table


async def test_each_part_and_each_turn_has_a_row_of_its_own_requests(tmp_path: Path) -> None:
    experiment = Experiment(
        models=("OLMoE-1B-7B",),
        strategies=("single",),
        hardware="H100",
        engine="simulated",
        workloads=("chat=64:8,turns=2,think=1@3+long=300:4@1,prompts=40",),
        concurrency="4",
        goodput={"chat.ttft": 1e6, "long.ttft": 1e-3},
    )
    await run_study(await prepare(experiment), tmp_path / "out", listen=lambda _: None)
    chat, long = class_rows(tmp_path / "out", "part")
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
