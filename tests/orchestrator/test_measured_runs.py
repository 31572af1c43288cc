"""Which rows of a run table the model's constants are fitted to, and as what server."""

from typing import Any

import pandas as pd
import pytest

from catalog.errors import BadFile
from catalog.from_hf import load_model
from orchestrator.measured_runs import measured_runs
from perfmodel.serving import DEFAULT_SETTINGS, server

ROW: dict[str, Any] = {
    "model": "Qwen3-30B-A3B", "strategy": "tp2", "gpu_type": "H100", "input_len": 512.0,
    "output_len": 128.0, "num_prompts": 64.0, "max_concurrency": 8.0, "output_throughput": 900.0,
    "mean_ttft_ms": 60.0, "verdict": "valid", "technique": "none", "source_file": "mine.csv",
    "source_row": 1,
}  # fmt: skip


def frame(*changes: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame([{**ROW, **each} for each in changes])


@pytest.mark.parametrize(("change", "why"), [
    ({"model": "Mixtrel"}, "unknown model"), ({"gpu_type": "MegaGPU"}, "unknown hardware"),
    ({"strategy": "zz9"}, "unknown strategy"), ({"max_concurrency": 0.0}, "max_concurrency: got 0"),
    ({"input_len": 0.0}, "input_len"), ({"output_len": float("nan")}, "output_len: got nan"),
    ({"input_len": 9e8}, "input_len"), ({"num_prompts": 1e9}, "num_prompts"),
    ({"strategy": "single", "gpu_type": "A30"}, "weights"), ({"verdict": "invalid"}, "not valid"),
    ({"output_throughput": float("nan")}, "no output_throughput"),
    ({"output_throughput": 0.0}, "no output_throughput"),
    ({"max_concurrency": float("nan")}, "closed loop"), ({"request_rate": 2.0}, "closed loop"),
    ({"output_throughput": 1e-300}, "output_throughput"), ({"mean_ttft_ms": 1e-300}, "mean_ttft"),
    ({"output_throughput": 1e15}, "output_throughput"), ({"technique": "hqq"}, "hqq"),
    ({"strategy": "tp2+dp2+ep[eplb=2]"}, "eplb"),
    ({"server_args": "--enforce-eager"}, "got '--enforce-eager'"),
    ({"server_args": "--dtype 'half"}, "arguments as a shell reads them"),
])  # fmt: skip
def test_a_row_that_shows_no_constant_is_left_out_with_its_reason(
    change: dict[str, Any], why: str
) -> None:
    found = measured_runs(frame({}, change))
    assert len(found.runs) == 1
    (told,) = found.left_out
    assert why in told
    with pytest.raises(BadFile, match=r"mine\.csv: no run to fit: 2 rows: "):
        measured_runs(frame(change, change))


def test_a_missing_column_is_named() -> None:
    with pytest.raises(BadFile, match="no column 'gpu_type'"):
        measured_runs(frame({}).drop(columns="gpu_type"))


def test_weights_and_cache_are_as_the_row_s_technique_stores_them() -> None:
    plain, narrow, cache = measured_runs(
        frame({}, {"technique": "fp8"}, {"technique": "kv-fp8"})
    ).runs
    assert plain.model.weight_dtype == "bfloat16"
    assert narrow.model.weight_dtype == "fp8"
    assert cache.server_settings(DEFAULT_SETTINGS).conventions.kv_dtype == "fp8"


def test_a_server_s_own_limits_and_version_count_where_it_told_them() -> None:
    told = {"max_num_batched_tokens": "4096", "max_num_seqs": 32.0, "engine_version": "0.11.0"}
    run, plain = measured_runs(frame(told, {"engine_version": "vllm-2026"})).runs
    limits = server(
        run.model, run.layout, run.gpu, longest=640, setup=run.server_settings(DEFAULT_SETTINGS)
    ).limits
    assert (limits.max_num_batched_tokens, limits.max_num_seqs) == (4096, 32)
    assert run.engine_version == "0.11.0"
    assert plain.server_settings(DEFAULT_SETTINGS) == DEFAULT_SETTINGS


def test_what_a_server_was_told_is_what_its_run_is_priced_by() -> None:
    told = "--kv-cache-dtype fp8 --dtype=float32 --max-num-seqs 16"
    (run,) = measured_runs(frame({"server_args": told})).runs
    settings = run.server_settings(DEFAULT_SETTINGS)
    assert (settings.conventions.kv_dtype, settings.max_num_seqs) == ("fp8", 16)
    assert run.model.weight_dtype == "float32"


def test_a_float32_checkpoint_counts_as_its_server_held_it() -> None:
    change = {"model": "tiny-olmoe", "strategy": "single", "input_len": 32.0, "output_len": 8.0}
    ((run,), _) = measured_runs(frame(change))
    assert load_model("tiny-olmoe").weight_dtype == "float32"
    assert run.model.weight_dtype == "bfloat16"
