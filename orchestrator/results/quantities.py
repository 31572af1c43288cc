"""What every column is: part of the condition, a measurement, or book-keeping; unit and direction.

A name may be a pattern. The first entry that matches a name decides.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from catalog.errors import BadValue

ColumnRole = Literal["condition", "measure", "record"]
Better = Literal["higher", "lower", ""]
Scale = Literal["ratio", "additive"]


@dataclass(frozen=True, slots=True)
class Measure:
    """How a measured column is to be read."""

    better: Better = ""
    """Which way is better; empty where neither is."""
    unit: str = ""
    scale: Scale = "ratio"
    """`ratio`: positive, compared by quotients. `additive`: differences (shares, counts, logs)."""


UP: Better = "higher"
DOWN: Better = "lower"
STATISTIC = r"(?:steady_|server_|tool_)?(?:mean|median|std|min|max|p\d+(?:_\d+)?)_"
LATENCY = rf"{STATISTIC}(?:ttft|tpot|itl|e2el|chunk_gap|queue|latency)\w*?"

# Name or pattern, direction, unit, scale. Sources: docs/metrics.md.
_MEASURES: tuple[tuple[str, Measure], ...] = (
    (r"(?:steady_|tool_|total_|server_)?(?:output|token|total_token|input)_throughput",
     Measure(UP, "tokens/s")),
    (r"output_throughput_per_gpu", Measure(UP, "tokens/s/GPU")),
    (r"(?:steady_)?(?:request_throughput|request_goodput)", Measure(UP, "requests/s")),
    (r"tokens_per_s", Measure(UP, "tokens/s")),
    (r"tokens_per_s_per_gpu", Measure(UP, "tokens/s/GPU")),
    (rf"{LATENCY}_ms", Measure(DOWN, "ms")),
    (rf"{LATENCY}_s", Measure(DOWN, "s")),
    (r"(?:ttft|tpot|itl|e2el|latency)_ms", Measure(DOWN, "ms")),
    (r"(?:ttft|tpot|itl|e2el|latency|mean_latency)_s", Measure(DOWN, "s")),
    (r"(?:mean|p99|max)_dispatch_lag_ms|client_\w*lag_ms", Measure(DOWN, "ms")),
    (r"(?:steady_)?duration(?:_s)?|wall_s", Measure(DOWN, "s")),
    (r"failed|interrupted|incomplete|errors", Measure(DOWN, "requests", "additive")),
    (r"completed|good_requests", Measure(UP, "requests", "additive")),
    (r"slo_attainment(?:_low|_high|_worst)?", Measure(UP, "share", "additive")),
    (r"(?:low_|high_)?perplexity(?:_low|_high|_ratio|_ratio_low|_ratio_high)?", Measure(DOWN)),
    (r"kl_divergence", Measure(DOWN, "nats/token", "additive")),
    (r"token_agreement|accuracy|quality", Measure(UP, "", "additive")),
    (r"peak_(?:gpu|host)_memory_bytes|(?:gpu_|host_|device_|model_)?memory_bytes",
     Measure(DOWN, "bytes")),
    (r"(?:gpu_)?memory_(?:mib|gib|gb|mb)", Measure(DOWN)),
    (r"usd_per_\w+|\w+_usd|price_\w+", Measure(DOWN, "USD")),
    (r"joules_per_\w+|energy_(?:joules|j|wh|kwh)", Measure(DOWN, "J")),
    (r"(?:mean_|max_|gpu_)?power_w", Measure(DOWN, "W")),
    (r"peak_kv_usage|kv_usage", Measure("", "share", "additive")),
    (r"(?:low|high)_(?:output_throughput)", Measure(UP, "tokens/s")),
    (r"(?:low|high)_mean_\w+_ms", Measure(DOWN, "ms")),
    (r"kv_tokens_capacity", Measure(UP, "tokens")),
    # Measured, and neither way is better.
    (r"(?:steady_)?effective_concurrency|peak_concurrency", Measure("", "requests")),
    (r"(?:total_|server_)?(?:input|output|prompt|generation)_tokens", Measure("", "tokens")),
    (r"(?:total|mean|median|p\d+|max)_(?:input|output)_tokens", Measure("", "tokens")),
    (r"(?:server_|num_)?preemptions|steady_\w+|tool_(?!version|name)\w+|peak_\w+|\w+_share"
     r"|\w+_samples|dead_experts|resident_experts|forward_passes|nodes_used"
     r"|server_(?:prefix_cache_\w+|requests)|prefix_(?:hits|queries)|co_located_\w+"
     r"|client_(?:cpu_\w+|coalesced_reads|reconnects)|gpu_(?:ecc_errors|foreign_processes|xid)"
     r"|expert_(?:gini|max_over_mean\w*|host_computed|moved_bytes|tokens)|quality_tokens|kl_mass"
     r"|quality_window|spec_decode_\w+|max_concurrent_requests|max_output_tokens_per_s"
     r"|step_ms|part_ms|moved_bytes|flops",
     Measure("", "", "additive")),
    # Names of statistics and of rates, whatever of.
    (r"(?:mean|median|std|avg|p\d+)_\w+|\w*(?:throughput|latency|tput|goodput|speedup)\w*",
     Measure()),
)  # fmt: skip

# A unit at the end of a name nobody knows: a measurement, or a setting that comes back in rows.
UNITS = re.compile(
    r"\w+_(?:ms|us|ns|s|secs?|seconds|minutes|hours|bytes|[kmg]i?b|w|watts?|j|joules|celsius|pct"
    r"|percent)"
)

# Ids, replicate numbers, times, places and words about a run: they never make a condition.
_RECORD = (
    r"\w*run_id|cell_id|case_id|request_id|id|uuid|\w+_uuid|configuration(?:_text)?"
    r"|replicate|replicates|rep|block|attempt|trial|iteration|repetition|repeat|run|run_number|seed"
    r"|(?:started|finished|ended|created|recorded)_at|(?:start|end|launch|measured?)_(?:time|date)"
    r"|date|time|timestamp|day|hour"
    r"|verdict\w*|error|errors_text|notes?|comments?|remarks?|reasons?|rank|pareto|rejected_because"
    r"|server_group|nodes|label_columns|slo_attainment_by_part|goodput_limits|slo_target|num_prompts_source|row|column|index|assumptions|outside_calibration"
    r"|max_cudagraph_capture_size|unit"
    r"|source_file|source_row|sha256|digest|path|load|load_kind|asked_concurrency|_\w+|unnamed\w*"
    r"|reference|calibration|feasible|bound|tied_with|why|same_perplexity|step|step_bound"
    r"|part|part_bound"
)

# What a server chose by itself, and how it reads in configuration_text: docs/metrics.md.
CHOICES: Mapping[str, str] = {
    "moe_backend": "MoE kernel {}", "moe_config": "MoE table {}",
    "attention_backend": "attention {}", "all2all_backend": "all-to-all {}",
    "all_reduce": "all-reduce {}", "custom_all_reduce": "custom all-reduce {}",
    "cuda_graphs": "CUDA graphs {}", "max_num_batched_tokens": "{} batched tokens",
    "max_num_seqs": "{} sequences", "async_scheduling": "async scheduling {}",
    "chunked_prefill": "chunked prefill {}", "prefix_caching": "prefix caching {}",
    "kv_cache_dtype": "KV cache {}", "quantization": "quantisation {}", "dtype": "{}",
    "speculative": "speculative {}", "model_runner": "model runner {}",
    "driver_version": "driver {}", "cuda_version": "CUDA {}", "nccl_version": "NCCL {}",
    "torch_version": "torch {}", "launch_env": "shell {}",
    "image": "image {}",
}  # fmt: skip
OF_A_LAYOUT = frozenset({"all2all_backend", "all_reduce", "custom_all_reduce"})
"""Choices that only some layouts have at all: one that names none differs in its layout alone."""

# Columns of a condition, and how a value reads in configuration_text.
CONDITION: Mapping[str, str] = {
    "model": "{}", "architecture": "{}", "strategy": "{}", "tp": "tp {}", "dp": "dp {}",
    "pp": "pp {}", "ep": "ep {}", "num_gpus": "{} GPUs", "gpu_type": "{}", "hardware": "{}",
    "technique": "{}", "precision": "{}", "engine": "{}", "engine_version": "version {}",
    "server_args": "server {}", "server_env": "environment {}", "endpoint": "at {}",
    "provenance": "{}", "tool": "by {}", "client": "client {}", "workload": "{}",
    "input_len": "in {}", "output_len": "out {}", "output_ends": "{} ends",
    "num_prompts": "{} prompts",
    "max_concurrency": "concurrency {}", "request_rate": "{} requests/s",
    "burstiness": "burstiness {}", "rate_curve": "rate over time {}", "text": "text {}",
    **CHOICES,
    "request_form": "asked as {}", "served_model": "serving {}", "answered_by": "answered by {}",
    "client_on": "client on {}", "node_shared": "node shared: {}",
}  # fmt: skip


@lru_cache(maxsize=4096)
def measure_of(name: str) -> Measure | None:
    """How a column is to be read; None where nobody declared it a measurement."""
    if name in CONDITION:
        return None
    return next((m for pattern, m in _MEASURES if re.fullmatch(pattern, name)), None)


@lru_cache(maxsize=4096)
def role_of(name: str) -> ColumnRole | None:
    """What a column is by its name; None for one that nobody knows."""
    if name in CONDITION:
        return "condition"
    if re.fullmatch(_RECORD, name.lower()):
        return "record"
    return "measure" if measure_of(name) else None


def is_higher_better(name: str, told: Better = "") -> bool:
    """Whether larger values of a column are better; refuses one of which that is not known."""
    found = told or (measure.better if (measure := measure_of(name)) else "")
    if not found:
        way = "a column with a known direction, or --better higher or --better lower"
        raise BadValue("--response", name, way)
    return found == "higher"
