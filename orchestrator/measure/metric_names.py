"""Other servers' metrics under vLLM's names, which the rest of moeserve reads.

SGLang: docs.sglang.io, «Production Metrics». TensorRT-LLM: tensorrt_llm.metrics, with the prefix
that trtllm-serve or Dynamo puts before its names. llama.cpp: tools/server/README.md.
"""

import re

_LLAMACPP = {
    "llamacpp:prompt_tokens_total": "prompt_tokens_total",
    "llamacpp:prompt_tokens_cached_total": "prefix_cache_hits_total",
    "llamacpp:tokens_predicted_total": "generation_tokens_total",
    "llamacpp:requests_processing": "num_requests_running",
    "llamacpp:requests_deferred": "num_requests_waiting",
}
_SGLANG = {
    "sglang:prompt_tokens_total": "prompt_tokens_total",
    "sglang:generation_tokens_total": "generation_tokens_total",
    "sglang:cached_tokens_total": "prefix_cache_hits_total",
    "sglang:num_requests_total": "request_success_total",
    "sglang:num_running_reqs": "num_requests_running",
    "sglang:num_queue_reqs": "num_requests_waiting",
    "sglang:token_usage": "kv_cache_usage_perc",
    "sglang:num_retractions_total": "num_preemptions_total",
    "sglang:num_retracted_requests_total": "num_preemptions_total",
    **{
        f"sglang:{name}_seconds_{part}": f"{known}_seconds_{part}"
        for name, known in (
            ("time_to_first_token", "time_to_first_token"),
            ("inter_token_latency", "inter_token_latency"),
            ("e2e_request_latency", "e2e_request_latency"),
            ("queue_time", "request_queue_time"),
        )
        for part in ("sum", "count")
    },
}
_TRTLLM = {
    f"trtllm{mark}{name}": name
    for mark in ("_", ":")
    for name in (
        "request_success_total",
        *(
            f"{histogram}_seconds_{part}"
            for histogram in ("time_to_first_token", "e2e_request_latency", "request_queue_time")
            for part in ("sum", "count")
        ),
    )
}
NAMES = {**_LLAMACPP, **_SGLANG, **_TRTLLM}
ROUNDED = tuple(name for name in _LLAMACPP if name.endswith("_total"))
"""Counters that are written with six digits: of a million or more they say nothing."""
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*")


def in_vllm_names(text: str) -> str:
    """Rename what is known in a Prometheus text; all other lines stay as they are."""
    return "\n".join(map(_renamed, text.splitlines()))


def _renamed(line: str) -> str:
    found = _NAME.match(line)
    if found is None or found[0] not in NAMES:
        return line
    name, rest = found[0], line[found.end() :]
    if name in ROUNDED and "e" in rest.rpartition(" ")[2]:
        return line
    return f"vllm:{NAMES[name]}{rest}"
