"""The shapes of each tool's files over the years: figures, loads, lengths, labels."""

from typing import Any

import pytest

from analysis.importers.record import coarse
from catalog.errors import BadFile
from tests.analysis.importers.shapes import SERVER, SGLANG, STAGE, TRTLLM, VLLM


def without(data: Any, *keys: Any) -> Any:
    return {key: value for key, value in data.items() if key not in keys}


def test_vllm_060_has_other_names_for_two_things(imported: Any) -> None:
    old = without(VLLM, "total_token_throughput", "failed", "burstiness", "max_concurrency")
    old |= {"input_throughput": 10_000.0, "mean_latency_ms": 951.0, "p99_latency_ms": 1100.0}
    (record,) = imported(old | {"request_rate": 10.0})
    assert record.total_token_throughput == 11_000
    assert (record.mean_e2el_ms, record.p99_e2el_ms, record.request_rate) == (951, 1100, 10)


def test_a_request_that_was_sent_and_did_not_complete_failed(imported: Any) -> None:
    data = without(VLLM, "failed") | {"num_prompts": 200, "request_goodput:": 4.2}
    (record,) = imported(data)
    assert (record.failed, record.verdict, record.verdict_reasons) == (100, "invalid", "ERRORS")
    assert record.request_goodput == 4.2


def test_where_nothing_completed_no_latency_was_measured(imported: Any) -> None:
    zeros = {key: 0.0 for key in VLLM if key.endswith("_ms") or "throughput" in key}
    dead = VLLM | zeros | {"completed": 0, "failed": 100, "total_output_tokens": 0}
    (record,) = imported(dead | {"total_input_tokens": 0})
    assert (record.mean_ttft_ms, record.p99_ttft_ms, record.mean_tpot_ms) == (None, None, None)
    assert (record.input_len, record.output_len, record.workload) == (None, None, "")
    assert record.verdict_reasons == "ERRORS;ZERO_TOKENS"


@pytest.mark.parametrize("name", ["v.json", "v.jsonl", "v.ndjson"])
def test_json_lines_are_read_whatever_the_file_is_called(imported: Any, name: str) -> None:
    records = imported([VLLM, VLLM | {"output_throughput": 1400.0}], name)
    assert [record.output_throughput for record in records] == [1000, 1400]
    assert [record.replicate for record in records] == [0, 1]


def test_metadata_and_swept_parameters_are_columns_and_tell_cells_apart(imported: Any) -> None:
    lines = [VLLM | {"framework": name, "max-num-seqs": n} for name in "ab" for n in (4, 8)]
    records = imported(lines, "v.jsonl")
    assert len({record.cell_id for record in records}) == 4
    assert [record.extra["framework"] for record in records] == ["a", "a", "b", "b"]
    assert [record.extra["max_num_seqs"] for record in records] == [4, 8, 4, 8]


def test_measurements_without_a_column_are_no_labels(imported: Any) -> None:
    more = {"max_concurrent_requests": 30, "spec_decode_acceptance_rate": 0.6, "rtfx": 0.0}
    first, second = imported(
        [VLLM | more, VLLM | more | {"max_concurrent_requests": 31}], "v.jsonl"
    )
    assert first.cell_id == second.cell_id
    assert second.extra["tool_max_concurrent_requests"] == 31


def test_a_file_cannot_shadow_columns_of_the_run_table(imported: Any) -> None:
    (record,) = imported(VLLM | {"verdict": "great", "run_id": "x", "configuration": "c"})
    assert record.verdict == "valid"
    assert record.extra["file_verdict"] == "great"
    assert record.extra["file_configuration"] == "c"


def test_the_client_backend_is_not_the_engine(imported: Any) -> None:
    (record,) = imported(VLLM)
    assert (record.engine, record.extra["client_backend"]) == ("", "vllm")


def test_workloads_are_named_by_lengths_and_not_by_the_number_of_prompts(imported: Any) -> None:
    curve = [
        VLLM | {"max_concurrency": c, "num_prompts": 10 * c, "completed": 10 * c,
                "total_input_tokens": 10 * c * (200 + c), "total_output_tokens": 10 * c * 63}
        for c in (1, 2, 4)
    ]  # fmt: skip
    records = imported(curve, "v.jsonl")
    assert {record.workload for record in records} == {"200:63"}
    assert records[2].extra["tool_mean_input_len"] == 204


@pytest.mark.parametrize(
    ("mean", "named"),
    [(1023.6, 1024), (1000, 1000), (3070, 3072), (203, 200), (63, 63), (0.4, None), (5429, 5400)],
)
def test_mean_lengths_are_named_coarsely(mean: Any, named: Any) -> None:
    assert coarse(mean) == (named if mean >= 1 else 1)


def test_summaries_say_that_requests_were_not_seen(imported: Any) -> None:
    assert imported(VLLM)[0].verdict_notes == "REQUESTS_NOT_SEEN"


def test_sglang_itl_is_judged_by_the_totals_and_not_by_tpot(imported: Any) -> None:
    """(576 − 38) · 100 / (6100 − 100) = 8.967 ms a token; TPOT weighs requests: 9.684."""
    (record,) = imported([SGLANG], "s.jsonl")
    assert record.mean_itl_ms == 8.96667
    (chunks,) = imported([SGLANG | {"mean_itl_ms": 20.0}], "c.jsonl")
    assert chunks.mean_itl_ms is None
    assert chunks.extra["mean_chunk_gap_ms"] == 20


@pytest.mark.parametrize(
    ("server", "strategy"),
    [
        ({"tp_size": 4, "ep_size": 4}, "tp4+ep"),
        ({"tp_size": 8, "dp_size": 8, "ep_size": 8, "enable_dp_attention": True}, "dp8+ep"),
        ({"tp_size": 8, "dp_size": 2, "ep_size": 8, "enable_dp_attention": True}, "tp4+dp2+ep"),
        ({"tp_size": 2, "pp_size": 2}, "pp2+tp2"),
    ],
)
def test_sglang_says_its_layout_model_version_and_arguments(
    imported: Any, server: Any, strategy: str
) -> None:
    own = SERVER | server | {"attention_backend": "fa3", "port": 30000, "random_seed": 7}
    info = {"internal_states": [own], "version": "0.5.5"}
    (record,) = imported([SGLANG | {"server_info": info}], "s.jsonl")
    assert (record.model, record.strategy, record.engine) == ("moe-a", strategy, "sglang")
    assert record.extra["server_attention_backend"] == "fa3"
    assert record.extra["engine_version"] == "0.5.5"
    assert not {"server_port", "server_random_seed"} & set(record.extra)


def test_sglang_pools_of_prefill_and_decode_are_counted_together(imported: Any) -> None:
    info = {"prefill": [SERVER | {"tp_size": 4}], "decode": [SERVER, SERVER]}
    (record,) = imported([SGLANG | {"server_info": info}], "s.jsonl")
    assert (record.strategy, record.num_gpus, record.model) == ("", 20, "moe-a")
    assert (record.extra["prefill_tp_size"], record.extra["decode_servers"]) == (4, 2)
    assert record.output_throughput_per_gpu == 3050 / 20


def test_the_printed_summary_is_read_with_the_settings_before_it(imported: Any) -> None:
    text = (
        "# Traffic request rate: inf\n# Maximum request concurrency: 32\n"
        "# ============ Serving Benchmark Result ============\n"
        "# Successful requests:                     32        \n"
        "# Benchmark duration (s):                  150.87    \n"
        "# Total input tokens:                      65,536    \n"
        "# Total generated tokens:                  65536     \n"
        "# Output token throughput (tok/s):         434.40    \n"
        "# Total Token throughput (tok/s):          868.80    \n"
        "# Mean TTFT (ms):                          7279.56   \n"
        "# Mean E2EL (ms):                          9000.00   \n"
        "# ==================================================\n"
    )
    first, second = imported(text + text.replace("434.40", "500.00"), "run.log")
    assert (first.output_throughput, second.output_throughput) == (434.4, 500)
    assert (first.max_concurrency, first.request_rate, first.completed) == (32, None, 32)
    assert (first.mean_ttft_ms, first.mean_e2el_ms, first.input_len) == (7279.56, 9000, 2048)


def test_a_stage_of_inference_perf_with_no_rate_has_no_load(imported: Any) -> None:
    (record,) = imported(STAGE | {"load_summary": {"count": 100, "requested_rate": -1}})
    assert record.request_rate is None
    assert (record.total_output_tokens, record.mean_itl_ms) == (6300, 12)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("nested", [False, True])
def test_inferencex_rows_are_found_where_they_lie(
    imported: Any, wrapped: bool, nested: bool
) -> None:
    figures = {"tput_per_gpu": 200.0, "output_tput_per_gpu": 100.0, "mean_ttft": 0.18}
    row = {"hw": "h200", "model": "m", "framework": "vllm", "tp": 8, "ep": 1, "isl": 1024,
           "osl": 1024, "spec_decoding": "mtp"}  # fmt: skip
    rows = [row | {"conc": c} | ({"metrics": figures} if nested else figures) for c in (4, 16)]
    records = imported(
        {"benchmarks": rows} if wrapped else rows, "v.json" if wrapped else "v.jsonl"
    )
    assert [record.output_throughput for record in records] == [800, 800]
    assert [record.max_concurrency for record in records] == [4, 16]
    assert {record.workload for record in records} == {"1024:1024"}
    assert (records[0].mean_ttft_ms, records[0].engine) == (180, "vllm")
    assert records[0].extra["spec_decoding"] == "mtp"


def test_inferencex_agentic_rows_have_their_own_counts(imported: Any) -> None:
    latency = {"ttft": {"mean": 1.1, "p50": 1.0}}
    rates = {"output": {"tokens_per_second": 26.0}, "duration_seconds": 3000.0}
    row = {"hw": "h100", "conc": 4, "model": "m", "num_gpus": 8, "tp": 8, "ep": 1,
           "num_requests_total": 50, "num_requests_successful": 48,
           "request_metrics": {"latency": latency, "throughput": rates}}  # fmt: skip
    (record,) = imported(row)
    assert (record.output_throughput, record.mean_ttft_ms, record.num_gpus) == (26, 1100, 8)
    assert (record.completed, record.failed, record.verdict) == (48, 2, "invalid")


@pytest.mark.parametrize("nested", [False, True])
def test_llmperf_says_latencies_in_seconds_and_its_own_gap_stays_apart(
    imported: Any, nested: bool
) -> None:
    flat = {
        "ttft_s_mean": 0.2, "ttft_s_quantiles_p99": 0.5, "end_to_end_latency_s_mean": 4.0,
        "inter_token_latency_s_mean": 0.03, "number_output_tokens_mean": 150.0,
        "number_input_tokens_mean": 550.0, "mean_output_throughput_token_per_s": 300.0,
        "num_completed_requests": 90, "num_requests_started": 100, "number_errors": 10,
        "num_completed_requests_per_min": 120.0,
    }  # fmt: skip
    head = {"version": "2023-08-31", "model": "m", "mean_input_tokens": 550,
            "stddev_input_tokens": 0, "num_concurrent_requests": 5}  # fmt: skip
    results = {"results": flat} if nested else {f"results_{k}": v for k, v in flat.items()}
    (record,) = imported(head | results)
    assert (record.mean_ttft_ms, record.p99_ttft_ms, record.mean_e2el_ms) == (200, 500, 4000)
    assert (record.mean_itl_ms, record.mean_tpot_ms) == (None, None)
    assert record.extra["tool_mean_time_per_token_ms"] == pytest.approx(30)
    assert (record.failed, record.duration, record.output_throughput) == (10, 45, 300)
    assert (record.max_concurrency, record.input_len, record.verdict) == (5, 550, "invalid")


def test_vllm_says_by_which_interface_its_client_spoke_where_the_backend_does_not(
    imported: Any,
) -> None:
    first, second = (imported(VLLM | {"endpoint_type": t})[0] for t in ("vllm", "openai-chat"))
    assert "endpoint_type" not in first.extra  # newer versions repeat the backend there
    assert second.extra["endpoint_type"] == "openai-chat"


def test_sglang_of_before_the_total_throughput_adds_both_ways(imported: Any) -> None:
    old = without(SGLANG, "total_throughput", "server_info") | {"input_throughput": 3000.0}
    (record,) = imported(old)
    assert record.total_token_throughput == 6050.0


def test_the_oldest_sglang_files_and_lmdeploys_are_read_for_what_they_say(imported: Any) -> None:
    names = ("total_throughput", "request_throughput", "server_info", "mean_ttft_ms",
             "mean_tpot_ms", "mean_itl_ms", "concurrency", "max_concurrency")  # fmt: skip
    old = without(SGLANG, *names) | {
        "backend": "lmdeploy", "total_output_tokens_retokenized": 6090, "median_itl_ms": 30.0,
        "median_ttft_ms": 37.0,
    }  # fmt: skip
    (record,) = imported(old)
    assert (record.output_throughput, record.median_ttft_ms) == (3050.0, 37.0)
    assert (record.engine, record.strategy, record.max_concurrency) == ("", "", None)
    assert record.extra["client_backend"] == "lmdeploy"
    # No mean shows its gaps to be those of tokens.
    assert (record.median_itl_ms, record.extra["median_chunk_gap_ms"]) == (None, 30.0)


def test_sglang_s_replay_of_a_trace_has_no_rate_and_is_told_from_one(imported: Any) -> None:
    (record,) = imported(SGLANG | {"request_rate": "trace"})
    assert (record.request_rate, record.extra["arrivals"]) == (None, "trace")


def test_trtllm_bench_has_figures_but_neither_load_nor_layout(imported: Any) -> None:
    (record,) = imported(TRTLLM)
    assert (record.model, record.engine) == ("moe-a", "tensorrt-llm")
    assert record.extra["engine_version"] == "1.0.0"
    assert (record.strategy, record.max_concurrency, record.request_rate) == ("", None, None)
    assert (record.num_gpus, record.output_throughput_per_gpu) == (4, 2500.0)
    assert (record.duration, record.completed, record.failed) == (50.0, 1000, None)
    assert (record.total_output_tokens, record.workload) == (500_000, "1000:500")
    assert (record.mean_ttft_ms, record.p90_ttft_ms, record.p95_tpot_ms) == (105.8, 130.0, 6.0)
    assert (record.mean_e2el_ms, record.p99_e2el_ms, record.mean_itl_ms) == (3000.0, 3600.0, None)
    assert record.extra["quantization"] == "FP8"
    assert record.extra["ep_size"] == 4
    assert "issue_rate" not in record.extra


def test_a_latency_whose_unit_an_export_does_not_name_is_refused(imported: Any) -> None:
    export = {
        "request_throughput": {"unit": "requests/sec", "avg": 10.0},
        "output_token_throughput": {"unit": "tokens/sec", "avg": 1280.0},
        "time_to_first_token": {"avg": 0.1},
        "request_latency": {"unit": "ms", "avg": 1497.0},
        "input_config": {"model": ["m"]},
    }
    with pytest.raises(BadFile, match="time_to_first_token is in no unit, known is ms"):
        imported(export)
    export["time_to_first_token"]["unit"] = "ms"
    assert imported(export)[0].mean_ttft_ms == 0.1


def test_a_report_of_guidellm_before_its_figures_were_these_is_named(imported: Any) -> None:
    old = {"benchmarks": [{"type_": "generative_benchmark", "run_stats": {}, "metrics": {}}]}
    with pytest.raises(BadFile, match=r"GuideLLM before 0\.5"):
        imported(old)


def test_a_file_without_any_figure_is_no_valid_run(imported: Any) -> None:
    with pytest.raises(BadFile, match="vllm bench serve, but without a figure"):
        imported(dict.fromkeys(VLLM) | {"model_id": "m"})
