"""One answer that lies is one failed request: the study goes on, and no figure is made of it."""

from pathlib import Path

import msgspec
import pytest

from orchestrator.table import request_table
from orchestrator.verify import verify_directory
from tests.lying_endpoint import LyingEndpoint, measured, serving

HUGE = ["10000000000", "2147483648", "9223372036854775808", "1" + "0" * 400, "1e300", "-5"]


@pytest.fixture(autouse=True)
def no_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    async def described(study: object) -> dict[str, object]:
        return {}

    monkeypatch.setattr("orchestrator.study.environment_of", described)


@pytest.mark.slow
@pytest.mark.parametrize("count", HUGE)
async def test_a_lie_about_the_answers_length_is_a_failed_request(
    tmp_path: Path, count: str
) -> None:
    async with serving(LyingEndpoint(completion_tokens=count)) as endpoint:
        row = await measured(endpoint, tmp_path)
    assert "ERRORS" in row["verdict_reasons"]
    table = request_table(tmp_path)
    assert set(table["error_class"].to_pylist()) >= {"TOKEN_COUNT_MISMATCH"}
    assert max(table["output_tokens"].to_pylist()) == 8
    assert verify_directory(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("count", HUGE)
async def test_a_lie_about_the_prompts_length_is_a_failed_request(
    tmp_path: Path, count: str
) -> None:
    async with serving(LyingEndpoint(prompt_tokens=count)) as endpoint:
        row = await measured(endpoint, tmp_path)
    assert "ERRORS" in row["verdict_reasons"]
    assert row["total_input_tokens"] == 16 * row["completed"]
    assert verify_directory(tmp_path) == []


@pytest.mark.parametrize("count", [2_000_000_000, 30, 15])
async def test_a_server_that_read_another_prompt_than_was_sent_is_no_valid_run(
    tmp_path: Path, count: int
) -> None:
    async with serving(LyingEndpoint(prompt_tokens=str(count))) as endpoint:
        row = await measured(endpoint, tmp_path)
    assert row["completed"] == 6
    assert "INPUT_MISMATCH" in row["verdict_reasons"].split(";")
    assert row["total_input_tokens"] == 6 * 16
    table = request_table(tmp_path)
    assert set(table["input_tokens"].to_pylist()) == {16}
    assert count in table["server_input_tokens"].to_pylist()


async def test_metrics_of_absurd_values_are_no_figures(tmp_path: Path) -> None:
    absurd = ("1e308", "NaN", "+Inf", "-1e300", "9" * 400)
    lines = [f'vllm:{name}{{x="{value}"}} {value}' for name in NAMES for value in absurd]
    async with serving(LyingEndpoint(metrics="\n".join(lines) + "\n")) as endpoint:
        row = await measured(endpoint, tmp_path)
    assert row["completed"] == 6
    assert row.get("server_generation_tokens") is None
    assert "SERVER_UNSEEN" in row["verdict_notes"].split(";")
    assert b"e+" not in msgspec.json.encode(row)


NAMES = (
    "generation_tokens_total",
    "prompt_tokens_total",
    "num_requests_running",
    "num_requests_waiting",
    "request_success_total",
    "kv_cache_usage_perc",
)


async def test_a_long_finish_reason_is_cut_and_clean(tmp_path: Path) -> None:
    reason = "\x1b]52;c;AAAA\x07" + "x" * 60_000
    async with serving(LyingEndpoint(finish_reason=reason)) as endpoint:
        await measured(endpoint, tmp_path)
    for kept in request_table(tmp_path)["finish_reason"].to_pylist():
        assert len(kept) <= 40
        assert kept.isprintable()


async def test_a_metric_named_like_a_figure_of_the_run_does_not_become_it(tmp_path: Path) -> None:
    names = ("output_throughput", "total_output_tokens", "mean_ttft_ms", "completed")
    lines = [f"moeserve_decoder_{name}_total 60000000000" for name in names]
    async with serving(LyingEndpoint(metrics="\n".join(lines) + "\n")) as endpoint:
        row = await measured(endpoint, tmp_path)
    assert row["completed"] == 6
    assert row["total_output_tokens"] == 6 * 8
    assert row["output_throughput"] < 1e6
    assert verify_directory(tmp_path) == []
