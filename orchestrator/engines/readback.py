"""What vLLM's log says of the layout it really runs: the asked one is a claim until then."""

import re
from dataclasses import dataclass

from catalog.units import GIB
from strategies.layout import Layout

# The configuration that each engine core says it runs with; repeated lines are fine.
_CONFIG = re.compile(
    r"tensor_parallel_size=(\d+), pipeline_parallel_size=(\d+), data_parallel_size=(\d+)"
)
_WORLD = re.compile(r"rank \d+ in world size (\d+) is assigned as DP rank")
_EXPERTS = re.compile(r"\[EP Rank \d+/(\d+)\] Expert parallelism is enabled")
_KV_TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
_WEIGHTS = re.compile(r"Model loading took ([\d.]+) GiB")
_ARGS = re.compile(r"non-default args: (\{.*\})")
_STAGES = (
    ("Application startup complete", "ready"),
    ("KV cache size", "warming up"),
    ("Capturing CUDA graph", "capturing graphs"),
    ("vLLM's torch.compile", "compiling"),
    ("Loading weights took", "allocating the KV cache"),
    ("Loading safetensors", "loading weights"),
    ("Starting to load model", "loading weights"),
    ("is assigned as DP rank", "joining ranks"),
    ("Downloading", "fetching the model"),
)


@dataclass(frozen=True, slots=True)
class Observed:
    """The layout as the server reported it; None where the log does not tell."""

    layout: Layout | None
    kv_tokens_capacity: int | None
    """Tokens of KV cache over all data-parallel ranks."""
    non_default_args: str
    model_memory_bytes: float | None = None
    """Weights of the fullest rank, as vLLM tells them of a GPU."""


def observed(log: str) -> Observed:
    """Read the layout from the log of a server that is ready."""
    capacities = [int(text.replace(",", "")) for text in _KV_TOKENS.findall(log)]
    arguments = _ARGS.search(log)
    weights = [float(text) * GIB for text in _WEIGHTS.findall(log)]
    return Observed(
        layout=_layout(log),
        kv_tokens_capacity=sum(capacities) if capacities else None,
        non_default_args=arguments[1] if arguments else "",
        model_memory_bytes=max(weights, default=None),
    )


def _layout(log: str) -> Layout | None:
    """Combine the configuration with what the ranks say; None where they contradict it."""
    found = _CONFIG.search(log)
    if found is None:
        return None
    tensor, pipeline, data = map(int, found.groups())
    layout = Layout(tp=tensor, pp=pipeline, dp=data, ep=_EXPERTS.search(log) is not None)
    # Replicas of a model without experts do not know of each other: the world is one of them.
    worlds = {layout.num_gpus, layout.num_gpus // layout.dp}
    if not worlds.issuperset(map(int, _WORLD.findall(log))):
        return None
    spread = {int(size) for size in _EXPERTS.findall(log)}
    return layout if spread <= {layout.ep_degree} else None


def layout_difference(asked: Layout, log: str) -> str | None:
    """Say how the running layout differs from the asked one; None when it does not."""
    seen = observed(log).layout
    if seen is None:
        return "the server's log does not say, or contradicts itself on, which layout it runs"
    if seen == asked.bare:
        return None
    return f"asked for {asked.bare.name}, the server runs {seen.name}"


def stage(log: str) -> str:
    """Name the furthest start-up stage the log has reached."""
    return next((name for text, name in _STAGES if text in log), "starting")
