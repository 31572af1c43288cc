"""What no hardware of the given kind can beat: the floor under measured latencies and throughput.

Perfect split over all GPUs, datasheet peaks, no communication, no overhead, any batching; a step
reads the weights of no more experts than one token uses. A result beyond it did not do the work.
"""

from dataclasses import dataclass

import numpy as np

from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.experts import touched
from perfmodel.load import StepLoad, chunk_pairs, decode_load
from perfmodel.shard import INDEX_DTYPE, Shard, shard

CACHE_CAUSE = (
    "the prompts were probably not computed: a prefix cache that earlier runs of the same prompts "
    "had filled, or fewer input tokens than stated"
)
RATE_CAUSE = (
    "each output token probably did not take a step of its own: speculative decoding, an early end "
    "of sequence counted as full length, or tokens of failed requests counted"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a run says it did; latencies None where not measured."""

    input_len: int
    output_len: int
    num_prompts: int
    max_concurrency: int | None
    mean_ttft_s: float | None = None
    mean_itl_s: float | None = None
    output_throughput: float | None = None


@dataclass(frozen=True, slots=True)
class Floor:
    """Least time to first token (mean over requests), least ITL, most output tokens a second."""

    mean_ttft_s: float
    mean_itl_s: float
    output_throughput: float


@dataclass(frozen=True, slots=True)
class Impossible:
    """One measured value beyond its floor."""

    metric: str
    measured: float
    limit: float
    cause: str

    def __str__(self) -> str:
        return (
            f"IMPOSSIBLE {self.metric} = {self.measured:.4g}, limit {self.limit:.4g}: {self.cause}"
        )


def floor(model: Model, gpu: Gpu, num_gpus: int, claim: Claim) -> Floor:
    """Compute the floor of a run.

    Of the m requests sent together at the start, the k-th to get a token waits for the operations
    of k prompts, every later one for those of its own, and each for the weights to be read once.
    A step decodes at most the requests in flight.
    """
    load = _prompt(model, claim.input_len)
    read_s = least_bytes(model, load) / (num_gpus * gpu.bandwidth_bytes_per_s)
    prompt_s = compute_s(model, gpu, load) / num_gpus
    count, together = claim.num_prompts, _together(claim)
    first_wave_s = np.maximum(prompt_s * np.arange(1, together + 1), read_s)
    later_s = (count - together) * max(prompt_s, read_s)
    return Floor(
        mean_ttft_s=float(first_wave_s.sum() + later_s) / count,
        mean_itl_s=decode_step_s(model, gpu, num_gpus, batch=1, context=claim.input_len),
        output_throughput=count * claim.output_len / _duration_s(model, gpu, num_gpus, claim),
    )


def impossible(
    model: Model, gpu: Gpu, num_gpus: int, claim: Claim, *, slack: float = 0.0
) -> tuple[Impossible, ...]:
    """Return every measured value beyond the floor by more than the share `slack`."""
    limit = floor(model, gpu, num_gpus, claim)
    found = []
    for metric, cause in (("mean_ttft_s", CACHE_CAUSE), ("mean_itl_s", RATE_CAUSE)):
        measured, least = getattr(claim, metric), getattr(limit, metric)
        if measured is not None and measured < least * (1 - slack):
            found.append(Impossible(metric, measured, least, cause))
    rate = claim.output_throughput
    if rate is not None and rate > limit.output_throughput * (1 + slack):
        found.append(Impossible("output_throughput", rate, limit.output_throughput, RATE_CAUSE))
    return tuple(found)


def decode_step_s(model: Model, gpu: Gpu, num_gpus: int, *, batch: int, context: int) -> float:
    """Least time of a decode step of `batch` sequences with so many tokens before them."""
    load = decode_load(batch, context, window=model.reach)
    memory_s = least_bytes(model, load) / gpu.bandwidth_bytes_per_s
    return max(memory_s, compute_s(model, gpu, load)) / num_gpus


def least_bytes(model: Model, load: StepLoad) -> float:
    """Bytes a step reads if all its tokens choose the same experts."""
    return moved_bytes(model, load, experts_hit=float(model.experts.top_k if model.experts else 0))


def moved_bytes(model: Model, load: StepLoad, *, experts_hit: float | None = None) -> float:
    """Bytes of a whole step: weights once, as many experts as uniform routing touches, cache."""
    part = shard(model, tp=1)
    read = part.attention_bytes + part.dense_bytes + (part.head_bytes if load.sampled else 0.0)
    read = read + part.read_bytes_full * load.kv_tokens
    read = read + part.read_bytes_near * load.windowed_kv_tokens
    read = read + part.state_bytes * load.decode_sequences
    if model.experts:
        expected = touched(model.experts.count, model.experts.top_k, load.tokens)
        hit = expected if experts_hit is None else experts_hit
        read = read + model.experts.layers * hit * part.expert_bytes
    return float(read)


def compute_s(model: Model, gpu: Gpu, load: StepLoad) -> float:
    """Operations of a step over one GPU's peak."""
    part: Shard = shard(model, tp=1)
    flops = load.tokens * (part.attention_flops + part.dense_flops)
    flops = flops + load.sampled * part.head_flops + load.pairs * part.flops_per_pair_full
    flops = flops + load.windowed_pairs * part.flops_per_pair_windowed
    flops = flops - load.prompt_pairs * part.saved_per_prompt_pair_full
    flops = flops - load.windowed_prompt_pairs * part.saved_per_prompt_pair_windowed
    total_s = float(flops) / gpu.most_flops_per_s(model.weight_dtype)
    total_s += float(load.pairs * part.flops_per_index_pair) / gpu.most_flops_per_s(INDEX_DTYPE)
    if model.experts:
        pairs = load.tokens * model.experts.top_k * model.experts.layers
        peak = gpu.most_flops_per_s(model.expert_dtype or model.weight_dtype)
        total_s += pairs * part.expert_flops / peak
    return total_s


def _together(claim: Claim) -> int:
    """Requests sent at once at the start: a closed loop's concurrency; one where unknown."""
    return min(claim.max_concurrency or 1, claim.num_prompts)


def _duration_s(model: Model, gpu: Gpu, num_gpus: int, claim: Claim) -> float:
    """All prompts' and tokens' operations, or the bytes of as few decode steps as can be."""
    batch = claim.num_prompts if claim.max_concurrency is None else _together(claim)
    steps = claim.output_len * -(-claim.num_prompts // batch)
    step_s = decode_step_s(model, gpu, num_gpus, batch=batch, context=claim.input_len)
    token_s = compute_s(model, gpu, decode_load(1, claim.input_len)) / num_gpus
    prompt_s = compute_s(model, gpu, _prompt(model, claim.input_len)) / num_gpus
    work_s = claim.num_prompts * (prompt_s + (claim.output_len - 1) * token_s)
    # The first token of each wave comes out of its prompts' step.
    return max(work_s, (steps - steps // claim.output_len) * step_s)


def _prompt(model: Model, tokens: int) -> StepLoad:
    return StepLoad(
        prefill_tokens=tokens,
        prefill_sequences=1,
        sampled=1,
        pairs=chunk_pairs(tokens, 0),
        windowed_pairs=chunk_pairs(tokens, 0, window=model.reach),
        prompt_pairs=chunk_pairs(tokens, 0),
        windowed_prompt_pairs=chunk_pairs(tokens, 0, window=model.reach),
    )
