"""The second witness: the configuration that a vLLM server has settled on (`/server_info`).

It is the front end's: data and expert parallelism stand there right where an engine's own log says
otherwise (models without experts, back ends that print no line). It is no proof: what the ranks
say in the log must agree. From 0.11.0 on it comes as JSON, and in development mode alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import msgspec

from catalog.errors import BadValue, EndpointError
from catalog.plain_text import plain
from orchestrator.engines.vllm.choices import LONGEST
from orchestrator.measure.control import Control
from strategies.layout import Layout

PATH = "/server_info?config_format=json"
LIMIT_S = 90.0
"""The server looks at the whole machine for its first answer."""
GUARD = ("--middleware", "orchestrator.engines.vllm.dev_guard.DevGuard")
DEV_MODE = "VLLM_SERVER_DEV_MODE"
# By the value of vLLM's enumeration.
_GRAPHS = {"0": "none", "1": "PIECEWISE", "2": "FULL",
           "[2, 0]": "FULL_DECODE_ONLY", "[2, 1]": "FULL_AND_PIECEWISE"}  # fmt: skip
_UNKNOWN = frozenset({"", "n/a", "none", "could not collect"})


@dataclass(frozen=True, slots=True)
class Configured:
    """What a server said of its configuration; None and absent where it did not say."""

    layout: Layout | None = None
    choices: Mapping[str, str] = field(default_factory=dict)


def is_loopback(host: str) -> bool:
    """Whether nobody but this host reaches a server that listens there."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def asking(host: str, *, own: bool) -> tuple[tuple[str, ...], dict[str, str], str]:
    """Arguments and variables that make a server answer, and why it will not where it will not.

    `own`: it runs in this Python, whose modules it can load.
    """
    if not is_loopback(host):
        why = (
            f"not asked: it listens on {host}, and the development mode that answers is for "
            "loopback alone"
        )
        return (), {DEV_MODE: "0"}, why
    if not own:
        return (), {}, "not asked: a command or an image of the user's own is left as it is"
    return GUARD, {DEV_MODE: "1"}, ""


async def configured(control: Control) -> Configured | None:
    """Ask a server; None where it does not answer, or not in JSON."""
    try:
        return parse(await control.get(PATH, limit_s=LIMIT_S))
    except EndpointError:
        return None


def parse(reply: bytes) -> Configured | None:
    """Read an answer; None for one that holds no configuration."""
    try:
        whole = msgspec.json.decode(reply, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    config = whole.get("vllm_config")
    if not isinstance(config, dict):
        return None
    parts = {name: part for name, part in config.items() if isinstance(part, dict)}
    system = whole.get("system_env")
    return Configured(
        _layout(parts.get("parallel_config", {})),
        {**_choices(parts), **_machine(system if isinstance(system, dict) else {})},
    )


def _layout(parallel: Mapping[str, Any]) -> Layout | None:
    tensor, pipeline, data = (_size(parallel, axis) for axis in ("tensor", "pipeline", "data"))
    if tensor is None or pipeline is None or data is None:
        return None
    if parallel.get("prefill_context_parallel_size", 1) != 1:
        return None  # prefill context parallelism has no name here
    experts = parallel.get("enable_expert_parallel") is True
    spread = experts and parallel.get("is_moe_model") is not False and tensor * data > 1
    try:
        return Layout(tp=tensor, pp=pipeline, dp=data, ep=spread)
    except BadValue:
        return None


def _size(parallel: Mapping[str, Any], axis: str) -> int | None:
    size = parallel.get(f"{axis}_parallel_size")
    return size if isinstance(size, int) and not isinstance(size, bool) else None


def _choices(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The settled values, as text; what is left to «auto» or is not there is no choice."""
    scheduler, cache = parts.get("scheduler_config", {}), parts.get("cache_config", {})
    model, parallel = parts.get("model_config", {}), parts.get("parallel_config", {})
    compilation, speculative = parts.get("compilation_config", {}), parts.get("speculative_config")
    said = {
        "max_num_batched_tokens": scheduler.get("max_num_batched_tokens"),
        "max_num_seqs": scheduler.get("max_num_seqs"),
        "chunked_prefill": scheduler.get("enable_chunked_prefill"),
        "async_scheduling": scheduler.get("async_scheduling"),
        "prefix_caching": cache.get("enable_prefix_caching"),
        "kv_cache_dtype": cache.get("cache_dtype"),
        "quantization": model.get("quantization", ""),
        "dtype": str(model.get("dtype", "")).removeprefix("torch."),
        "cuda_graphs": _GRAPHS.get(str(compilation.get("cudagraph_mode"))),
        "speculative": (speculative or {}).get("method") if scheduler else "",
        "custom_all_reduce": _opposite(parallel.get("disable_custom_all_reduce")),
    }
    absent_is_none = ("quantization", "speculative")
    return {
        name: _text(value)
        for name, value in said.items()
        if value != "" and (value is not None or name in absent_is_none)
    }


def _machine(system: Mapping[str, Any]) -> dict[str, str]:
    """Versions of driver, CUDA and torch, where the server found them."""
    named = {
        "driver_version": "nvidia_driver_version",
        "cuda_version": "cuda_runtime_version",
        "torch_version": "torch_version",
    }
    found = {name: str(system.get(key) or "").strip() for name, key in named.items()}
    return {name: _text(told) for name, told in found.items() if told.lower() not in _UNKNOWN}


def _opposite(value: object) -> bool | None:
    return not value if isinstance(value, bool) else None


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else plain(str(value))[:LONGEST]
