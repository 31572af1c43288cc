"""What an importer has no column for: settings become labels, measurements become `tool_…`.

A label is any scalar that tells one system under test from another: metadata, swept parameters,
a server's arguments. Times, ids, addresses and per-request arrays tell nothing apart.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from catalog.plain_text import plain
from catalog.secret_names import is_secret_name
from catalog.secrets import redact
from orchestrator.results.record import COLUMNS

Scalar = float | int | str
DEEPEST = 6
LONGEST_LIST = 8
LONGEST_TEXT = 200
MOST_INTEGER = 2**63 - 1
# Words of a name, anywhere in its path, that make it no part of what was measured upon.
VOLATILE = frozenset((
    "date", "time", "timestamp", "start_time", "end_time", "started_at", "finished_at", "uuid",
    "id", "run_id", "benchmark_id", "sweep_id", "pid", "port", "host", "hostname", "url", "urls",
    "addr", "address", "seed", "random_seed", "path", "dir", "folder", "file", "filename",
    "artifacts", "environment", "entries", "warnings", "requests", "generated_texts", "errors",
    "error_summary", "telemetry", "telemetry_data", "run_info", "cli_command", "api_key",
    "token_api_key", "api_routes", "scheduler_state", "replicate", "run", "rep",
    "run_number", "trial", "iteration", "run_index", "current_index", "request_samples",
    "nccl_port", "dist_init_addr", "log_level",
))  # fmt: skip
# A number with one of these words in its name is a setting even where the name sounds measured.
SETTING = re.compile(
    r"(?:^|_)(?:slos?|sla|limit|target|threshold|requested|asked|utilization)(?:_|$)"
)
_STATISTIC = r"(?:mean|median|avg|average|std|stddev|min|max|p\d{1,3}(?:_\d+)?)"
_METRIC = r"(?:ttfts?|tpots?|itls?|e2els?|e2e|latency|latencies|tps|tput|throughput|intvty)"
MEASURED = re.compile(
    rf"""(?:^|_)(?:{_METRIC}|{_STATISTIC}_{_METRIC}|goodput|elapsed|duration|percentiles?|rtfx?
    |accepted|acceptance|accept_length|joules|energy|power|watts|completed|succe\w+|failed|failures?
    |errors?|attained|attainment|steady|hits?|hit_rate|preemptions|cached|retokenized
    |concurrent_requests|committed)(?:_|$)
    |_per_(?:s|sec|second|min)\b|^(?:spec_decode|diffusion)_|^total_\w*(?:tokens|requests|time)
    |^{_STATISTIC}_|^(?:num_)?(?:input|output|prompt|generation)_tokens$""",
    re.VERBOSE,
)
_OF_A_REQUEST = re.compile(r"m(?:in|ax)_(?!ttft|tpot|itl|e2e|latency|output_tokens_per|concurrent)")
_HEADERS = re.compile(r"(?i)(?:^|_)(?:headers?|authorization|cookies?)(?:_|$)")
RESERVED = frozenset(COLUMNS) | {
    "tool", "source", "folder", "configuration", "configuration_text", "source_file", "source_row",
    "load", "load_kind", "unit", "row", "rank", "pareto", "verdict", "extra", "label_columns",
}  # fmt: skip


@dataclass(slots=True)
class Leftovers:
    """Further columns of a run."""

    labels: dict[str, Scalar] = field(default_factory=dict)
    measured: dict[str, Scalar] = field(default_factory=dict)


def leftovers(
    data: Any,
    known: Collection[str] = (),
    *,
    prefix: str = "",
    settings_only: bool = False,
) -> Leftovers:
    """Sort what is left of an object; `known` are the keys that have columns or mean nothing."""
    found = Leftovers()
    whole = data if isinstance(data, Mapping) else {}
    rest = {key: value for key, value in whole.items() if key not in known}
    for path, value in _scalars(rest, prefix):
        name = column_name(path)
        text = isinstance(value, str)
        if not name or (text and is_secret(name)):
            continue
        if not (text or settings_only) and is_measured(name):
            found.measured.setdefault(f"tool_{name}", value)
        else:
            found.labels.setdefault(name, value)
    return found


def is_measured(name: str) -> bool:
    """Whether a number of this name was measured; `max_num_seqs` and `ttft_slo_ms` were set."""
    return bool(MEASURED.search(name)) and not (
        SETTING.search(name) or _OF_A_REQUEST.match(name.lower())
    )


def is_secret(name: str) -> bool:
    """Whether a text of this name may be a key, a password or a header that carries one."""
    return bool(is_secret_name(name) or _HEADERS.search(name))


def _scalars(value: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping):
        for key, inner in value.items() if depth < DEEPEST else ():
            name = re.sub(r"\W+", "_", str(key)).strip("_").lower()
            if name not in VOLATILE or (name == "environment" and isinstance(inner, str)):
                yield from _scalars(inner, f"{path}_{key}" if path else str(key), depth + 1)
    elif isinstance(value, list):
        yield from _listed(value, path, depth)
    elif (scalar := scalar_of(value)) is not None:
        yield path, scalar


def _listed(value: list[Any], path: str, depth: int) -> Iterator[tuple[str, Scalar]]:
    """A short list of scalars is one label; short lists of objects are walked through."""
    if not value or len(value) > LONGEST_LIST:
        return
    if not any(isinstance(item, Mapping | list) for item in value):
        texts = [str(scalar) for item in value if (scalar := scalar_of(item)) is not None]
        if texts and not all(isinstance(item, float) for item in value):
            yield path, _short(",".join(texts))
        return
    for index, item in enumerate(value):
        yield from _scalars(item, f"{path}_{index}" if len(value) > 1 else path, depth + 1)


def scalar_of(value: Any) -> Scalar | None:
    """A value as a cell of a table; None for nothing, and for what is no scalar."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value if abs(value) <= MOST_INTEGER else None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return (_short(value) or None) if isinstance(value, str) else None


def _short(text: str) -> str:
    return redact(" ".join(plain(text).split()))[:LONGEST_TEXT]


def column_name(path: str) -> str:
    """A key as a column: `max-num-seqs` is `max_num_seqs`; own columns are not shadowed."""
    name = re.sub(r"[^0-9A-Za-z]+", "_", path).strip("_")[:80]
    return f"file_{name}" if name.lower() in RESERVED or name.startswith("tool_") else name
