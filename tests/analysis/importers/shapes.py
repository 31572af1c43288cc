"""Objects as other tools write them, with round values."""

VLLM = {
    "date": "20260101-000000", "backend": "vllm", "model_id": "moe-a", "tokenizer_id": "moe-a",
    "num_prompts": 100, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 16,
    "duration": 10.0, "completed": 100, "failed": 0, "total_input_tokens": 100_000,
    "total_output_tokens": 10_000, "request_throughput": 10.0, "output_throughput": 1000.0,
    "total_token_throughput": 11_000.0, "mean_ttft_ms": 60.0, "p99_ttft_ms": 72.0,
    "mean_tpot_ms": 15.5, "mean_itl_ms": 15.5,
}  # fmt: skip
SERVER = {"model_path": "moe-a", "tp_size": 8, "pp_size": 1, "dp_size": 1, "ep_size": 1}
SGLANG = {
    "tag": "a", "backend": "sglang", "request_rate": "inf", "max_concurrency": 32,
    "random_input_len": 120, "random_output_len": 122, "duration": 2.0, "completed": 100,
    "total_input_tokens": 6000, "total_output_tokens": 6100, "request_throughput": 50.0,
    "output_throughput": 3050.0, "total_throughput": 6050.0, "mean_e2e_latency_ms": 576.0,
    "mean_ttft_ms": 38.0, "mean_tpot_ms": 9.684, "mean_itl_ms": 8.96667, "concurrency": 28.8,
    "server_info": {"internal_states": [SERVER], "version": "0.5.5"},
}  # fmt: skip
STAGE = {
    "load_summary": {"count": 100, "requested_rate": 10.0}, "benchmark_time_seconds": 10.0,
    "successes": {
        "count": 100,
        "latency": {
            "request_latency": {"mean": 0.784}, "time_to_first_token": {"mean": 0.04},
            "time_per_output_token": {"mean": 0.012}, "inter_token_latency": {"mean": 0.012},
        },
        "throughput": {
            "requests_per_sec": 10.0, "output_tokens_per_sec": 630.0,
            "total_tokens_per_sec": 2630.0,
        },
        "prompt_len": {"mean": 200.0}, "output_len": {"mean": 63.0},
    },
    "failures": {"count": 0},
}  # fmt: skip
INFERENCEX = {
    "benchmarks": [
        {"hw": "h200", "model": "m", "framework": "vllm", "tp": 8, "ep": 8, "isl": 1024,
         "osl": 1024, "dp_attention": "true", "disagg": True, "num_prefill_gpu": 4, "conc": 4,
         "num_decode_gpu": 8, "metrics": {"tput_per_gpu": 200.0, "mean_ttft": 0.18}},
    ],
}  # fmt: skip
AGENTIC = {
    "hw": "h100", "conc": 4, "model": "m", "num_gpus": 8, "tp": 8, "ep": 1,
    "num_requests_total": 50, "num_requests_successful": 48,
    "request_metrics": {
        "latency": {"ttft": {"mean": 1.1, "p50": 1.0}},
        "throughput": {"output": {"tokens_per_second": 26.0}, "duration_seconds": 3000.0},
    },
}  # fmt: skip
LLMPERF = {
    "version": "1", "model": "m", "mean_input_tokens": 550, "stddev_input_tokens": 0,
    "num_concurrent_requests": 5, "results_ttft_s_mean": 0.2, "results_ttft_s_quantiles_p99": 0.5,
    "results_end_to_end_latency_s_mean": 4.0, "results_number_output_tokens_mean": 150.0,
    "results_mean_output_throughput_token_per_s": 300.0, "results_num_completed_requests": 90,
    "results_num_requests_started": 100, "results_number_errors": 10,
    "results_num_completed_requests_per_min": 120.0, "results_inter_token_latency_s_mean": 0.03,
}  # fmt: skip
TRTLLM = {
    "engine": {"model": "moe-a", "model_path": "/models/a", "engine_dir": None, "version": "1.0.0",
               "backend": "Pytorch", "dtype": "bfloat16", "kv_cache_dtype": "FP8",
               "quantization": "FP8"},
    "world_info": {"tp_size": 4, "pp_size": 1, "ep_size": 4, "world_size": 4,
                   "max_batch_size": 256, "max_num_tokens": 8192, "issue_rate": 9.9e5,
                   "kv_cache_percentage": 0.9},
    "request_info": {"num_requests": 1000, "avg_num_concurrent_requests": 60.0,
                     "avg_input_length": 1000.0, "avg_output_length": 500.0},
    "performance": {"total_latency_ms": 50_000.0, "avg_request_latency_ms": 3000.0,
                    "request_throughput_req_s": 20.0, "system_output_throughput_tok_s": 10_000.0,
                    "system_total_throughput_tok_s": 30_000.0,
                    "request_latency_percentiles_ms": {"p50": 2900.0, "p99": 3600.0}},
    "streaming_metrics": {"avg_ttft_ms": 105.8, "avg_tpot_ms": 5.8,
                          "ttft_percentiles": {"average": 105.8, "p90": 130.0},
                          "tpot_percentiles": {"average": 5.8, "p95": 6.0}},
}  # fmt: skip
