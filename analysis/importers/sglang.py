"""SGLang's `bench_serving`: JSON lines, milliseconds, `e2e_latency` for `e2el`.

`server_info` holds the server's arguments, in newer versions once for each scheduler.
"""

from collections.abc import Mapping
from typing import Any

from analysis.importers.document import Document
from analysis.importers.labels import layout_of
from analysis.importers.leftovers import Scalar, leftovers
from analysis.importers.result import (
    COUNTED,
    STATISTICS,
    ImportedRun,
    Number,
    failed_of,
    mean_of,
    total_rate,
    without_chunk_gaps,
)
from strategies import Layout

METRICS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2el": "e2e_latency"}
POOLS = ("prefill", "decode")
TRACE = "trace"
"""Stands where the rate does when requests were sent at a trace's own times."""
# Where a server's arguments lie, the first that is there.
ARGUMENTS = ("internal_states.0", "decode.0", "prefill.0", "server_args", "")
READ = (
    "server_info", "backend", "model", "model_id", "duration", "completed", "num_prompts", "failed",
    "request_rate", "max_concurrency", "random_input_len", "random_output_len", "concurrency",
    "total_input_tokens", "total_output_tokens", "request_throughput", "request_goodput",
    "input_throughput", "output_throughput", "total_throughput", "input_lens", "output_lens",
    "ttfts", "itls",
    *(f"{s}_{key}_ms" for key in METRICS.values() for s in STATISTICS),
)  # fmt: skip
# A server's state and numbers that each launch has anew: they do not tell servers apart.
SERVER_STATE = (
    "model_path", "tp_size", "pp_size", "dp_size", "ep_size", "enable_dp_attention", "memory_usage",
    "last_gen_throughput", "avg_spec_accept_length", "max_total_num_tokens", "token_capacity",
    "effective_max_running_requests_per_dp", "max_req_input_len", "load", "status", "dp_rank",
    "step_time_dict", "tokenizer_path", "served_model_name", "nccl_port", "dist_init_addr",
)  # fmt: skip


def matches(source: Document) -> bool:
    keys = set(source.data)
    # The oldest files have no further rate; LMDeploy's copy of the tool writes the same.
    rates = {"total_throughput", "input_throughput", "total_output_tokens_retokenized"} & keys
    return {"mean_e2e_latency_ms", "output_throughput"} <= keys and bool(rates)


def result(source: Document) -> ImportedRun:
    """Read one line; `concurrency` is the measured mean in flight, not the setting."""
    done, prompts = source.count("completed"), source.count("num_prompts")
    inputs, outputs = source.count("total_input_tokens"), source.count("total_output_tokens")
    summary, gaps = without_chunk_gaps(_summary(source, prompts))
    server = _server(source)
    rest = leftovers(source.data, READ)
    is_trace = source.text("request_rate") == TRACE
    backend = source.text("backend")
    return ImportedRun(
        source=source,
        tool="sglang bench_serving",
        model=str(server.get("model_path") or source.text("model") or source.text("model_id")),
        engine="sglang" if server else "",
        layout=_layout(source, server),
        num_gpus=_gpus(source),
        input_len=mean_of(inputs, done),
        output_len=mean_of(outputs, done),
        asked=(source.level("random_input_len"), source.level("random_output_len")),
        # Without num_prompts the file counts completed requests only: how many were sent it
        # does not say.
        num_prompts=prompts or done,
        max_concurrency=source.level("max_concurrency"),
        request_rate=None if is_trace else source.setting("request_rate"),
        summary=summary,
        measured={**rest.measured, **gaps},
        labels={
            **({} if prompts else COUNTED),
            **({"client_backend": backend} if backend else {}),
            **({"arrivals": TRACE} if is_trace else {}),
            **_arguments(source, server),
            **rest.labels,
        },
    )


def _summary(source: Document, prompts: int | None) -> dict[str, Number]:
    done, out = source.count("completed"), source.number("output_throughput")
    return {
        **{
            f"{s}_{metric}_ms": source.number(f"{s}_{key}_ms")
            for metric, key in METRICS.items()
            for s in STATISTICS
        },
        "duration": source.number("duration"),
        "completed": done,
        "failed": failed_of(source.count("failed"), done, prompts),
        "total_input_tokens": source.count("total_input_tokens"),
        "total_output_tokens": source.count("total_output_tokens"),
        "request_throughput": source.number("request_throughput"),
        "request_goodput": source.number("request_goodput"),
        "output_throughput": out,
        "total_token_throughput": total_rate(
            source.number("total_throughput"), source.number("input_throughput"), out
        ),
        "effective_concurrency": source.number("concurrency"),
    }


def _server(source: Document) -> Mapping[str, Any]:
    """The arguments of the server, or of the first of several."""
    for place in ARGUMENTS:
        found = source.get(f"server_info.{place}" if place else "server_info")
        if isinstance(found, Mapping) and ("tp_size" in found or "model_path" in found):
            return found
    return {}


def _layout(source: Document, server: Mapping[str, Any]) -> Layout | None:
    """Attention over data-parallel ranks (`dp_attention`) splits the tp ranks, it adds none."""
    if not server or _differing_pools(source):
        return None
    degrees = Document(server, source.path, place=source.place)
    tp, pp, dp, ep = (degrees.level(f"{axis}_size") for axis in ("tp", "pp", "dp", "ep"))
    if degrees.flag("enable_dp_attention") and tp and dp and tp % dp == 0:
        tp //= dp
    return layout_of(tp, pp, dp, ep=(ep or 1) > 1)


def _gpus(source: Document) -> int | None:
    """GPUs of a disaggregated server are the sum of both pools."""
    pools = _differing_pools(source)
    sizes = [[server.get(f"{axis}_size") or 1 for axis in ("tp", "pp")] for server in pools]
    whole = all(isinstance(n, int) and not isinstance(n, bool) for size in sizes for n in size)
    return sum(size[0] * size[1] for size in sizes) if sizes and whole else None


def _differing_pools(source: Document) -> list[Mapping[str, Any]]:
    """Servers of a prefill and a decode pool, where they are not one server named twice."""
    if isinstance(source.get("server_info.internal_states.0"), Mapping):
        return []
    pools = [source.get(f"server_info.{pool}") for pool in POOLS]
    if not all(isinstance(pool, list) and pool for pool in pools):
        return []
    return [server for pool in pools for server in pool if isinstance(server, Mapping)]


def _arguments(source: Document, server: Mapping[str, Any]) -> dict[str, Scalar]:
    if not _differing_pools(source):
        labels = leftovers(server, SERVER_STATE, prefix="server", settings_only=True).labels
        version = source.get("server_info.version") or server.get("version")
        return labels | ({"engine_version": version} if isinstance(version, str) else {})
    found: dict[str, Scalar] = {}
    for pool in POOLS:
        servers = source.get(f"server_info.{pool}")
        found[f"{pool}_servers"] = len(servers)
        own = servers[0] if isinstance(servers[0], Mapping) else {}
        kept = tuple(name for name in SERVER_STATE if not name.endswith("_size"))
        found |= leftovers(own, kept, prefix=pool, settings_only=True).labels
    return found
