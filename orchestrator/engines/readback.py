"""What vLLM's log says of the layout it really runs: the asked one is a claim until then."""

import re
from dataclasses import dataclass

from strategies.layout import Layout

_RANK = re.compile(
    r"rank (\d+) in world size (\d+) is assigned as DP rank (\d+), PP rank (\d+)"
    r"(?:, PCP rank \d+)?, TP rank (\d+)"
)
_EXPERTS = re.compile(r"\[EP Rank (\d+)/(\d+)\] Expert parallelism is enabled")
_KV_TOKENS = re.compile(r"KV cache size: ([\d,]+) tokens")
_ARGS = re.compile(r"non-default args: (\{.*\})")
_STAGES = (
    ("Application startup complete", "ready"),
    ("KV cache size", "warming up"),
    ("Capturing CUDA graph", "capturing graphs"),
    ("torch.compile", "compiling"),
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


def observed(log: str) -> Observed:
    """Read the layout from the log of a server that is ready."""
    ranks = [tuple(map(int, found)) for found in _RANK.findall(log)]
    capacities = [int(text.replace(",", "")) for text in _KV_TOKENS.findall(log)]
    arguments = _ARGS.search(log)
    return Observed(
        layout=_layout(ranks, spread=bool(_EXPERTS.search(log))) if ranks else None,
        kv_tokens_capacity=sum(capacities) if capacities else None,
        non_default_args=arguments[1] if arguments else "",
    )


def _layout(ranks: list[tuple[int, ...]], *, spread: bool) -> Layout:
    data, pipeline, tensor = (max(rank[axis] for rank in ranks) + 1 for axis in (2, 3, 4))
    return Layout(tp=tensor, pp=pipeline, dp=data, ep=spread)


def layout_difference(asked: Layout, log: str) -> str | None:
    """Say how the running layout differs from the asked one; None when it does not."""
    seen = observed(log).layout
    if seen is None:
        return "the server's log does not say which layout it runs"
    if seen == asked.bare:
        return None
    return f"asked for {asked.bare.name}, the server runs {seen.name}"


def stage(log: str) -> str:
    """Name the furthest start-up stage the log has reached."""
    return next((name for text, name in _STAGES if text in log), "starting")
