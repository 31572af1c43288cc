"""The physical floor: what it catches, and that no simulation goes below it."""

from statistics import fmean

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.a100_study import throughput, workloads
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import ROOFLINE
from perfmodel.floor import CACHE_CAUSE, RATE_CAUSE, Claim, floor, impossible, moved_bytes
from perfmodel.load import decode_load
from perfmodel.reference import table
from perfmodel.serving import ServerSettings, server
from perfmodel.simulate import simulate
from perfmodel.twin import dense_twin
from strategies.parse import parse_layout

MIXTRAL, A100 = model("Mixtral-8x7B"), gpu("A100-80GB")


def mean_floor_ms(concurrency: int) -> float:
    return 1e3 * fmean(
        floor(MIXTRAL, A100, 2, Claim(prompt, output, count, concurrency)).mean_ttft_s
        for prompt, output, count in workloads().values()
    )


@pytest.mark.parametrize("strategy", ["tp", "ep"])
def test_the_a100_studys_mixtral_ttft_is_below_what_computing_its_prompts_takes(
    strategy: str,
) -> None:
    (printed,) = [
        float(row["value"])
        for row in table("parallelism_points")
        if row["what"] == "mean TTFT over workloads" and row["strategy"] == strategy
    ]
    assert printed in (119.0, 164.0)
    assert mean_floor_ms(32) > 220 > printed


def test_an_impossible_ttft_names_the_prefix_cache() -> None:
    claim = Claim(1024, 512, 20, 32, mean_ttft_s=0.119)
    (found,) = impossible(MIXTRAL, A100, 2, claim)
    assert found.metric == "mean_ttft_s"
    assert found.cause == CACHE_CAUSE
    assert str(found).startswith("IMPOSSIBLE mean_ttft_s = 0.119, limit 0.4")


def test_an_impossible_rate_names_tokens_without_steps() -> None:
    # 12.9 B active parameters at 2 bytes over 2 × 2.04 TB/s: a token takes over 6 ms.
    claim = Claim(128, 128, 10, 1, mean_itl_s=0.005, output_throughput=180.0)
    found = impossible(MIXTRAL, A100, 2, claim)
    assert [each.metric for each in found] == ["mean_itl_s", "output_throughput"]
    assert {each.cause for each in found} == {RATE_CAUSE}


def test_slack_lets_a_near_miss_pass() -> None:
    limit = floor(MIXTRAL, A100, 2, Claim(1024, 512, 20, 32)).mean_ttft_s
    claim = Claim(1024, 512, 20, 32, mean_ttft_s=limit * 0.97)
    assert impossible(MIXTRAL, A100, 2, claim)
    assert not impossible(MIXTRAL, A100, 2, claim, slack=0.05)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(["Mixtral-8x7B", "OLMoE-1B-7B", "gpt-oss-20b", "Qwen3-30B-A3B"]),
    layout=st.sampled_from(["tp", "ep", "tp+ep", "pp2"]),
    prompt=st.integers(1, 2000),
    output=st.integers(2, 100),
    count=st.integers(1, 24),
    concurrency=st.integers(1, 24),
)
def test_no_simulation_beats_the_floor(
    name: str, layout: str, prompt: int, output: int, count: int, concurrency: int
) -> None:
    ideal = msgspec.structs.replace(
        ROOFLINE, kernel_s=0.0, sequence_s=0.0, step_s=0.0, memory_efficiency=1.0,
        compute_efficiency=1.0, network_efficiency=1.0, hop_s=0.0,
    )  # fmt: skip
    spec, parsed, h200 = model(name), parse_layout(layout), gpu("H200")
    built = server(
        spec, parsed, h200, longest=prompt + output, setup=ServerSettings(constants=ideal)
    )
    result = simulate(
        ClosedLoop(count, concurrency),
        [(prompt, output)] * count,
        built.step_model,
        limits=built.limits,
    )
    ttft_s = fmean(
        float(times[0] - sent)
        for times, sent in zip(result.token_times_s, result.sent_s, strict=True)
    )
    itl_s = fmean(float(times[-1] - times[0]) / (output - 1) for times in result.token_times_s)
    claim = Claim(prompt, output, count, concurrency, ttft_s, itl_s, throughput(result))
    assert impossible(spec, h200, parsed.num_gpus, claim, slack=1e-9) == ()


READ_ONCE = {1024: 1.24, 16384: 1.24, 32768: 1.24, 131072: 1.25, 1048576: 1.14, 4194304: 1.03}


@pytest.mark.parametrize("row", table("qs_table4_context")[:6], ids=lambda r: r["context_tokens"])
def test_reading_each_byte_once_gives_the_papers_sign_but_not_its_size(row: dict[str, str]) -> None:
    """Table 4 of the qs paper: 2.14 to 5.26 in favour of the dense model up to 1 Mi tokens."""
    moe = msgspec.structs.replace(model("DeepSeek-V3"), weight_dtype="fp8")
    context = int(row["context_tokens"])
    rates = []
    for spec, batch in ((moe, int(row["b_moe"])), (dense_twin(moe, 5), int(row["b_dense"]))):
        rates.append(batch / moved_bytes(spec, decode_load(batch, context - 1)))
    assert rates[1] / rates[0] == pytest.approx(READ_ONCE[context], abs=0.01)


def test_table_5_cannot_be_bytes_read_once() -> None:
    """433 against 72 units of HBM time asks for more bytes a step than a 180 GB GPU holds."""
    dense = dense_twin(msgspec.structs.replace(model("DeepSeek-V3"), weight_dtype="fp8"), 5)
    cache = moved_bytes(dense, decode_load(267, 131071)) - moved_bytes(dense, decode_load(267, 0))
    per_gpu = cache / 64
    assert per_gpu == pytest.approx(38.4e9, rel=0.01)
    assert per_gpu * (433 / 72) * (244 / 267) > 180e9
