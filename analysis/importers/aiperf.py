"""AIPerf and genai-perf: `profile_export_aiperf.json`, `…_genai_perf.json`, and their CSV, in ms.

Their inter-token latency is moeserve's TPOT; the inter-chunk latency is ITL when chunks are tokens.
genai-perf nests the same tags under `records` in some versions.
"""

from collections.abc import Mapping
from typing import Any

from analysis.importers.document import Document
from analysis.importers.leftovers import Scalar, leftovers
from analysis.importers.result import (
    COUNTED,
    ImportedRun,
    Number,
    distribution,
    token_gap_ms,
)
from catalog.errors import BadFile

NAMES = {"mean": "avg", "median": "p50", "std": "std", "p90": "p90", "p95": "p95", "p99": "p99"}
UNITS = {
    "time_to_first_token": ("ms",), "inter_token_latency": ("ms",), "inter_chunk_latency": ("ms",),
    "request_latency": ("ms",), "output_token_throughput": ("tokens/sec", "per sec", "tokens/s"),
    "request_throughput": ("requests/sec", "per sec", "requests/s"),
    "benchmark_duration": ("sec", "s"),
}  # fmt: skip
# A chunk now and then holds two tokens, or none.
ONE_TOKEN_A_CHUNK = 0.01
WARM_UP = ("warmup", "warm_up", "warm-up")
# Parts of the configuration that are the load (in columns of their own) or nothing of the system.
NOT_SETTINGS = (
    "phases", "loadgen", "artifacts", "output", "runtime", "service", "otel", "mlflow", "wandb",
    "gpu_telemetry", "server_metrics", "network_latency", "models", "model", "model_names",
    "formatted_model_name", "entries", "concurrency", "request_rate", "request_count",
    "profile_export_file", "artifact_dir", "artifact_directory", "verbose", "perf_analyzer",
    "input", "num_prompts",
    "measurement_interval", "num_dataset_entries", "subcommand", "func", "ui", "cli_command",
    "warmup_request_count", "synthetic_input_files", "generate_plots", "config_file",
)  # fmt: skip


def matches(source: Document) -> bool:
    data = source.data
    if isinstance(source.get("records.request_latency"), Mapping):
        return True
    configured = {"input_config", "aiperf_version", "rounded_csv"} & set(data)
    return bool(configured) and isinstance(data.get("request_latency"), Mapping)


def is_records(source: Document) -> bool:
    """A line of `profile_export.jsonl`: one request, not a run."""
    return {"metadata", "metrics"} <= set(source.data) and "x_request_id" in str(
        source.get("metadata")
    )


def records_refused(source: Document) -> BadFile:
    return BadFile(source.path, "holds single requests; give profile_export_aiperf.json beside it")


def is_aggregate(source: Document) -> bool:
    """A summary over trials or over the points of a sweep, whose runs stand in files beside it."""
    keys = set(source.data)
    over = {"aggregation_type", "per_combination_metrics", "best_configurations", "pareto_optimal"}
    return bool(keys & over) or "aggregation_type" in str(source.get("metadata"))[:2000]


def result(source: Document) -> ImportedRun:
    """Read one profile after checking that its units are the known ones."""
    records = source.get("records")
    tags = (
        Document({**source.data, **records}, source.path) if isinstance(records, dict) else source
    )
    for tag, units in UNITS.items():
        stated = tags.text(f"{tag}.unit")
        if stated not in units and (stated or tags.get(f"{tag}.avg") is not None):
            raise source.bad(f"{tag} is in {stated or 'no unit'}, known is {units[0]}")
    summary = _summary(tags)
    done, failed = summary["completed"], summary["failed"]
    config = source.get("input_config")
    settings = config if isinstance(config, Mapping) else {}
    gaps = _chunk_gaps(tags, summary)
    usage = tags.count("total_usage_prompt_tokens.avg")
    return ImportedRun(
        source=source,
        tool="genai-perf" if _is_genai_perf(source) else "aiperf",
        model=_model(source),
        started_at=source.text("start_time"),
        input_len=tags.number("input_sequence_length.avg"),
        output_len=tags.number("output_sequence_length.avg"),
        asked=_asked(source),
        num_prompts=round(sum(n or 0 for n in (done, failed))) if done is not None else None,
        max_concurrency=_whole(_load(source, "concurrency")),
        request_rate=_load(source, "request_rate") or _load(source, "rate"),
        complete=source.get("was_cancelled") is not True and source.get("is_complete") is not False,
        rounded=source.get("rounded_csv") is True,
        summary={**summary, **gaps[0]},
        measured={**gaps[1], "tool_usage_prompt_tokens": usage},
        replicate=max(source.count("run_info.trial") or 0, 0),
        labels={
            **({} if _load(source, "requests") or _load(source, "request_count") else COUNTED),
            **_version(source),
            **_variation(source),
            **leftovers(settings, NOT_SETTINGS, settings_only=True).labels,
        },
    )


def _summary(tags: Document) -> dict[str, Number]:
    done = tags.count("request_count.avg")
    duration, rate = tags.number("benchmark_duration.avg"), tags.number("request_throughput.avg")
    if duration is None and done is not None and rate:
        duration = done / rate
    tokens = {
        side: _first(tags, f"total_{short}.avg", f"total_{side}_sequence_length.avg",
                     f"total_{side}_tokens.avg", f"{side}_sequence_length.sum")
        for side, short in (("input", "isl"), ("output", "osl"))
    }  # fmt: skip
    return {
        "duration": duration,
        "completed": done,
        "failed": tags.count("error_request_count.avg"),
        "total_input_tokens": tokens["input"],
        "total_output_tokens": _first(tags, "total_output_tokens.avg") or tokens["output"],
        "request_throughput": rate,
        "request_goodput": _rate(tags, "goodput"),
        "output_throughput": tags.number("output_token_throughput.avg"),
        "total_token_throughput": tags.number("total_token_throughput.avg"),
        "effective_concurrency": tags.number("effective_concurrency.avg"),
        **distribution(tags, "time_to_first_token", NAMES, "ttft"),
        **distribution(tags, "inter_token_latency", NAMES, "tpot"),
        **distribution(tags, "request_latency", NAMES, "e2el"),
    }


def _rate(tags: Document, tag: str) -> float | None:
    return tags.number(f"{tag}.avg") if isinstance(tags.get(tag), Mapping) else None


def _first(tags: Document, *paths: str) -> int | None:
    return next((count for path in paths if (count := tags.count(path)) is not None), None)


def _chunk_gaps(
    tags: Document, summary: Mapping[str, Number]
) -> tuple[dict[str, Number], dict[str, Number]]:
    """Gaps between chunks as ITL when there are as many as gaps between tokens; else apart."""
    gaps = distribution(tags, "inter_chunk_latency", NAMES, "itl")
    mean, tokens, done = gaps["mean_itl_ms"], summary["total_output_tokens"], summary["completed"]
    if mean is None:
        return {}, {}
    chunks = tags.number("inter_chunk_latency.count")
    if chunks is None and mean:
        chunks = (tags.number("inter_chunk_latency.sum") or 0.0) / mean or None
    if chunks is not None and tokens is not None and done is not None:
        same = abs(chunks - (tokens - done)) <= ONE_TOKEN_A_CHUNK * max(tokens - done, 1)
    else:
        right = token_gap_ms(summary)
        same = right is not None and abs(mean - right) <= 2 * ONE_TOKEN_A_CHUNK * right
    if same:
        return gaps, {}
    return {}, {name.replace("_itl_", "_chunk_gap_"): value for name, value in gaps.items()}


def _model(source: Document) -> str:
    for path in ("models.items.0.name", "endpoint.model_names.0", "model_names.0", "models.0.name",
                 "model.0", "model", "endpoint.model", "formatted_model_name"):  # fmt: skip
        if found := source.text(f"input_config.{path}"):
            return found
    return ""


def _load(source: Document, name: str) -> float | None:
    """A setting of the measured phase, which follows a warm-up phase if there is one.

    Versions up to 0.11 name the phase, later ones give its kind; before 0.10 there were none.
    """
    phases = source.get("input_config.phases")
    named = (
        [phase for phase in phases if isinstance(phase, Mapping)]
        if isinstance(phases, list)
        else []
    )
    for phase in sorted(named, key=lambda phase: not _says_profiling(phase)):
        if not _is_warm_up(phase):
            found = Document(phase, source.path, place="input_config.phases").setting(name)
            return found
    for place in ("loadgen.", "", "perf_analyzer.stimulus.", "stimulus."):
        if (found := source.setting(f"input_config.{place}{name}")) is not None:
            return found
    return None


def _says_profiling(phase: Mapping[str, Any]) -> bool:
    return "profiling" in (phase.get("kind"), phase.get("name"))


def _is_warm_up(phase: Mapping[str, Any]) -> bool:
    if phase.get("exclude_from_results") is True:
        return True
    return any(str(phase.get(key)).lower() in WARM_UP for key in ("kind", "name"))


def _asked(source: Document) -> tuple[int | None, int | None]:
    """Mean lengths that were asked for, where they were asked without a spread."""
    lengths = []
    for side, other in (("isl", "input_tokens"), ("osl", "output_tokens")):
        mean, spread = None, None
        for place in ("datasets.0.prompts", "input.prompt"):
            path = f"input_config.{place}.{side if place.startswith('datasets') else other}"
            mean = mean or source.level(f"{path}.mean")
            spread = spread or source.number(f"{path}.stddev")
        lengths.append(mean if not spread else None)
    return lengths[0], lengths[1]


def _variation(source: Document) -> dict[str, Scalar]:
    """Where a sweep says which of its points a run is."""
    info = source.get("run_info")
    own = info if isinstance(info, Mapping) else {}
    told = {k: v for k, v in own.items() if k.startswith("variation") or k == "run_label"}
    return leftovers(told, settings_only=True).labels


def _version(source: Document) -> dict[str, Scalar]:
    version = source.text("aiperf_version")
    return {"client_version": version} if version else {}


def _is_genai_perf(source: Document) -> bool:
    return "genai" in source.path.name or "records" in source.data


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
