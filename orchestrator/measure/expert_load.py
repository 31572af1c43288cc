"""Which experts a run's tokens went to: as the server returns it, or as its balancer logs it.

vLLM returns the experts of each token (`--enable-return-routed-experts`) with whole answers only:
some prompts of the run are sent once more, unstreamed, after its window. Its expert-parallel load
balancer logs a line a step; those of the run's window are read.
"""

import asyncio
import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from catalog.errors import EndpointError
from orchestrator.measure.control import Control
from orchestrator.measure.samples import SampleTable
from perfmodel.expert_balance import TokenCounts
from workloads.transcript import clean_error

MOST_PROMPTS = 16
LIMIT_S = 300.0
MOST_LAYERS = 1_024
ARGUMENTS = ("--enable-prefix-caching", "--enable-return-routed-experts")
"""vLLM keeps the returned experts with its prefix cache and refuses one without the other."""

_EPLB = re.compile(
    r"EPLB step: \d{1,12}.{0,200}?avg_tokens=(\d{1,12}(?:\.\d{1,12})?), max_tokens=(\d{1,12})"
)


@dataclass(frozen=True, slots=True)
class RoutedExperts:
    """The routed experts of a server's model, and over how many ranks they lie."""

    count: int
    ranks: int | None
    """Of expert parallelism, in vLLM's linear placement; None where that is not known."""


class _Choice(msgspec.Struct):
    routed_experts: str | None = None


class _Reply(msgspec.Struct):
    choices: list[_Choice]


async def request_routing(
    control: Control, model: str, prompts: Sequence[Sequence[int]], output_len: int
) -> list[str]:
    """Send prompts unstreamed, all at once; return the routing of each as the server encoded it.

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

    responses = (
        control.post("/v1/completions", body(prompt), limit_s=LIMIT_S) for prompt in prompts
    )
    replies = [_decoded(reply) for reply in await asyncio.gather(*responses)]
    return [choice.routed_experts for r in replies for choice in r.choices if choice.routed_experts]


def _decoded(reply: bytes) -> _Reply:
    try:
        return msgspec.json.decode(reply, type=_Reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EndpointError(f"a completion that cannot be read: {error}") from None


def count_tokens(routed: Sequence[str], experts: int) -> TokenCounts:
    """Count tokens by layer and expert, of base64 `.npy` arrays of shape (tokens, layers, top-k).

    Layers without experts, whose rows a server leaves zero, are left out. Raises EndpointError.
    """
    counts: TokenCounts = counts_by_answer(routed, experts).sum(axis=0)
    return counts


def counts_by_answer(routed: Sequence[str], experts: int) -> NDArray[np.int64]:
    """Count as `count_tokens` does, of each answer: shape (answers, layers, experts)."""
    counts: list[TokenCounts] = []
    for text in routed:
        chosen = _array(text, experts)
        each = np.array([np.bincount(layer.ravel(), minlength=experts) for layer in chosen])
        if counts and each.shape != counts[0].shape:
            raise EndpointError(
                f"routed experts of {len(each)} layers in one answer and {len(counts[0])} in "
                "another"
            )
        counts.append(each)
    if not counts:
        return np.zeros((0, 0, experts), np.int64)
    stacked = np.stack(counts)
    return stacked[:, stacked[:, :, 1:].any(axis=(0, 2))]


def _array(text: str, experts: int) -> NDArray[np.int64]:
    """Decode one array and put layers first."""
    try:
        array = _read_npy(base64.b64decode(text, validate=True))
    except (ValueError, EOFError, OSError, TypeError, SyntaxError, OverflowError) as error:
        raise EndpointError(
            f"routed experts that cannot be read: {clean_error(str(error))}"
        ) from None
    whole = array.ndim == 3 and array.size and array.shape[1] <= MOST_LAYERS
    if not whole or array.min() < 0 or array.max() >= experts:
        raise EndpointError(
            f"routed experts of shape {array.shape} and type {array.dtype} are not experts below "
            f"{experts} as (tokens, layers, top-k)"
        )
    chosen: NDArray[np.int64] = array.astype(np.int64).transpose(1, 0, 2)
    return chosen


def _read_npy(data: bytes) -> NDArray[np.integer[Any]]:
    """Read whole numbers in numpy's format; the head's shape is held to the bytes that follow it.

    `np.load` would allocate what the head says first, and open a zip or a pickle as well.
    """
    file = io.BytesIO(data)
    npy: Any = np.lib.format  # typed in some versions of numpy
    old = npy.read_magic(file) == (1, 0)
    read = npy.read_array_header_1_0 if old else npy.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    body = data[file.tell() :]
    if dtype.kind not in "ui" or math.prod(shape) * dtype.itemsize != len(body):
        raise ValueError(f"{len(body)} bytes for the shape {str(shape)[:80]} of {dtype}")
    order: Literal["F", "C"] = "F" if fortran_order else "C"
    return np.frombuffer(body, dtype).reshape(shape, order=order)


def token_samples(tokens: TokenCounts) -> SampleTable:
    """A row for each expert of each layer that has some."""
    table = SampleTable()
    for layer, row in enumerate(tokens.tolist()):
        for expert, count in enumerate(row):
            table.add(layer=layer, expert=expert, tokens=count)
    return table


def balancer_figures(log: str) -> Mapping[str, float | None]:
    """Read the balancer's lines of a stretch of log: tokens by rank, busiest over mean."""
    lines = [(float(mean), float(most)) for mean, most in _EPLB.findall(log)]
    ratios = [most / mean for mean, most in lines if mean > 0]
    if not ratios:
        return {}
    return {"eplb_steps": float(len(ratios)), "eplb_max_over_mean": fmean(ratios)}
