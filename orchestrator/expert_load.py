"""Which experts a run's tokens went to: as the server returns it, or as its balancer logs it.

vLLM returns the experts of each token (`--enable-return-routed-experts`) with whole answers only:
some prompts of the run are sent once more, unstreamed, after its window. Its expert-parallel load
balancer logs a line a step; those of the run's window are read.
"""

import asyncio
import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.errors import EndpointError
from orchestrator.engines.control import Control
from orchestrator.samples import Samples

MOST_PROMPTS = 16
LIMIT_S = 300.0
ARGUMENTS = ("--enable-prefix-caching", "--enable-return-routed-experts")
"""vLLM keeps the returned experts with its prefix cache and refuses one without the other."""

_EPLB = re.compile(r"EPLB step: \d+.*?avg_tokens=([\d.]+), max_tokens=(\d+)")

Counts = NDArray[np.int64]
"""Tokens by layer and expert, shape (layers, experts)."""


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed experts of a server's model, and over how many ranks they lie."""

    count: int
    ranks: int | None
    """Of expert parallelism, in vLLM's linear placement; None where that is not known."""


class _Choice(msgspec.Struct):
    routed_experts: str | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]


async def probe(
    control: Control, model: str, prompts: Sequence[Sequence[int]], output_len: int
) -> list[str]:
    """Send some prompts unstreamed; return the routing of each as the server encoded it.

    Raises EndpointError where the server does not answer.
    """

    def body(prompt: Sequence[int]) -> dict[str, Any]:
        return {
            "model": model,
            "prompt": list(prompt),
            "max_tokens": output_len,
            "temperature": 0,
            "ignore_eos": True,
        }

    asked = (
        control.post("/v1/completions", body(prompt), limit_s=LIMIT_S)
        for prompt in prompts[:MOST_PROMPTS]
    )
    replies = [_decoded(reply) for reply in await asyncio.gather(*asked)]
    return [choice.routed_experts for r in replies for choice in r.choices if choice.routed_experts]


def _decoded(reply: bytes) -> _Reply:
    try:
        return msgspec.json.decode(reply, type=_Reply)
    except msgspec.DecodeError as error:
        raise EndpointError(f"a completion that cannot be read: {error}") from None


def counts(routed: Sequence[str], experts: int) -> Counts:
    """Count tokens by layer and expert, of base64 `.npy` arrays of shape (tokens, layers, top-k).

    Layers without experts, whose rows a server leaves zero, are left out. Raises EndpointError.
    """
    total: Counts | None = None
    for text in routed:
        chosen = _array(text, experts)
        each = np.stack([np.bincount(layer.ravel(), minlength=experts) for layer in chosen])
        total = each if total is None else total + each
    if total is None:
        return np.zeros((0, experts), np.int64)
    return total[total[:, 1:].any(axis=1)]


def _array(text: str, experts: int) -> NDArray[np.int64]:
    """Decode one array and put layers first."""
    try:
        array = np.load(io.BytesIO(base64.b64decode(text, validate=True)), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise EndpointError(f"routed experts that cannot be read: {error}") from None
    if array.ndim != 3 or array.dtype.kind not in "ui" or (array.size and array.max() >= experts):
        raise EndpointError(
            f"routed experts of shape {array.shape} and type {array.dtype} are not experts below "
            f"{experts} as (tokens, layers, top-k)"
        )
    chosen: NDArray[np.int64] = array.astype(np.int64).transpose(1, 0, 2)
    return chosen


def figures(tokens: Counts, ranks: int | None) -> dict[str, float | None]:
    """Summarise the balance: means over layers, and the worst layer.

    max/mean is the busiest expert's tokens over the mean; Gini is 0 for an equal share and nears 1
    when one expert gets all; a dead expert of a layer got no token.
    """
    if not len(tokens):
        return {}
    shares = tokens.max(axis=1) / tokens.mean(axis=1)
    told: dict[str, float | None] = {
        "expert_tokens": float(tokens.sum()),
        "expert_max_over_mean": float(shares.mean()),
        "expert_max_over_mean_worst_layer": float(shares.max()),
        "expert_gini": float(np.mean([gini(layer) for layer in tokens])),
        "dead_experts": float((tokens == 0).sum(axis=1).mean()),
    }
    if ranks and ranks > 1:
        by_rank = rank_tokens(tokens, ranks)
        told["rank_max_over_mean"] = float((by_rank.max(axis=1) / by_rank.mean(axis=1)).mean())
    return told


def gini(values: NDArray[np.int64]) -> float:
    """G = Σᵢ (2i − n − 1) xᵢ / (n Σ xᵢ) with x in ascending order, i from 1."""
    ordered = np.sort(values).astype(float)
    count, total = len(ordered), ordered.sum()
    order = 2 * np.arange(1, count + 1) - count - 1
    return float(order @ ordered / (count * total)) if total else 0.0


def rank_tokens(tokens: Counts, ranks: int) -> Counts:
    """Sum over each rank's experts: a contiguous share, the first ranks one more if uneven."""
    parts = np.array_split(tokens, ranks, axis=1)
    return np.stack([part.sum(axis=1) for part in parts], axis=1)


def samples(tokens: Counts) -> Samples:
    """A row for each expert of each layer that has some."""
    kept = Samples()
    for layer, row in enumerate(tokens.tolist()):
        for expert, count in enumerate(row):
            kept.add(layer=layer, expert=expert, tokens=count)
    return kept


def balancer_figures(log: str) -> Mapping[str, float | None]:
    """Read the balancer's lines of a stretch of log: tokens by rank, busiest over mean."""
    lines = [(float(mean), float(most)) for mean, most in _EPLB.findall(log)]
    ratios = [most / mean for mean, most in lines if mean > 0]
    if not ratios:
        return {}
    return {"eplb_steps": float(len(ratios)), "eplb_max_over_mean": fmean(ratios)}
