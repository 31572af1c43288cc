"""The best partition of a number of GPUs for decoding, and why each ranks where it does.

As the qs paper's section 4.4: every partition, its largest admissible batch (eq. 20), its step time
and tokens a second, by the same rules for dense and MoE models.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from catalog.errors import BadValue, Infeasible
from catalog.hardware import Gpu
from catalog.models import Model
from catalog.units import GB
from perfmodel.arrays import FloatArray
from perfmodel.decode import ASSUMED, PHASES, DecodeModel, Pricing
from perfmodel.memory import VLLM, Conventions
from perfmodel.partition import Partitions, partitions
from perfmodel.shard import Shard


@dataclass(frozen=True, slots=True)
class Candidate:
    """One partition at its best admissible batch."""

    tp: int
    pp: int
    ep: int
    dp: int
    kvp: int
    cp: int
    feasible: bool
    b_max: int
    b_max_by: Literal["memory", "max_num_seqs"]
    """What the largest batch is bound by."""
    batch: int
    tokens_per_s_per_gpu: float | None
    tokens_per_s: float | None
    latency_s: float | None
    pareto: bool
    why: str

    @property
    def name(self) -> str:
        """Its degrees over one, as `tp2+dp4+ep8`: expert parallelism by its number of groups."""
        degrees = {name: getattr(self, name) for name in ("tp", "pp", "dp", "ep", "kvp", "cp")}
        parts = [f"{name}{degree}" for name, degree in degrees.items() if degree > 1]
        return "+".join(parts) or "single"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a search is for: sequences of `context` tokens, at most so much time a token."""

    context: int
    batch: int | None = None
    """None takes the largest that fits, or the best under the latency limit."""
    latency_s: float | None = None
    max_num_seqs: int | None = None
    """Sequences that one replica serves at once, as vLLM's limit; None lets memory alone decide."""

    def __post_init__(self) -> None:
        if self.context < 1:
            raise BadValue("context", self.context, "1 token or more")
        if self.batch is not None and self.batch < 1:
            raise BadValue("batch", self.batch, "1 or more")
        if self.max_num_seqs is not None and self.max_num_seqs < 1:
            raise BadValue("max_num_seqs", self.max_num_seqs, "1 or more")
        if self.latency_s is not None and not self.latency_s > 0:
            raise BadValue("latency", self.latency_s, "over 0 s")


def search(
    model: Model,
    gpu: Gpu,
    gpus: int,
    *,
    goal: Goal,
    conventions: Conventions = VLLM,
    pricing: Pricing = ASSUMED,
) -> list[Candidate]:
    """Rank all partitions by tokens a second a GPU, infeasible ones last."""
    parts = partitions(model, gpus)
    if not len(parts):
        raise Infeasible(f"{model.name}: no partition of {gpus} GPUs divides its heads and experts")
    search = _Search(DecodeModel(model, parts, gpu, pricing), goal, conventions)
    return search.ranked()


class _Search:
    def __init__(self, decode: DecodeModel, goal: Goal, conventions: Conventions) -> None:
        self._decode, self._goal = decode, goal
        gpu = decode.gpu
        usable = gpu.memory_bytes * conventions.usable_fraction - conventions.reserve_bytes
        self._weights = weight_bytes(decode.model, decode.parts, decode.shard)
        self._left = usable - self._weights
        self._per_sequence = kv_bytes(decode.model, decode.parts, decode.shard, goal.context)
        fit = np.maximum(np.floor(self._left / self._per_sequence), 0.0)
        limit = np.inf if goal.max_num_seqs is None else float(goal.max_num_seqs)
        self._held_back = fit > limit
        self._b_max = np.minimum(fit, limit) * decode.parts.dp
        self._batch, self._latency_s = self._best_batch()
        self._rate = np.where(self._batch > 0, self._batch / self._latency_s, 0.0)

    def ranked(self) -> list[Candidate]:
        # Among equals whole experts before slices: they make larger matrix products.
        order = np.lexsort((-self._decode.parts.ep, self._latency_s, -self._rate))
        pareto = pareto_front(self._rate, self._latency_s)
        why = self._reasons()
        return [self._candidate(int(i), bool(pareto[i]), why[int(i)]) for i in order]

    def _best_batch(self) -> tuple[FloatArray, FloatArray]:
        """The batch of each partition with the most tokens a second that meets the goal, or 0.

        That is the largest: a sequence more costs a step no more than its mean sequence does.
        """
        goal = self._goal
        if goal.batch is not None:
            batch = np.full(len(self._b_max), float(goal.batch))
        else:
            batch = self._b_max if goal.latency_s is None else self._largest_within(goal.latency_s)
        total_s = self._step_s(batch)
        fits = (batch > 0) & (batch <= self._b_max) & (total_s <= (goal.latency_s or np.inf))
        return np.where(fits, batch, 0.0), np.where(fits, total_s, np.inf)

    def _step_s(self, batch: FloatArray) -> FloatArray:
        return self._decode.cost(np.maximum(batch, 1.0), self._goal.context).total_s

    def _largest_within(self, limit_s: float) -> FloatArray:
        """The largest batch of each partition whose step takes no longer; 0 where none does.

        By bisection over the sequences of a replica: a larger batch is never faster, and replicas
        that are not equally full wait for the fullest.
        """
        replicas = self._decode.parts.dp
        fits, fails = np.zeros_like(replicas), self._b_max // replicas + 1
        while np.any(fails - fits > 1):
            middle = (fits + fails) // 2
            within = self._step_s(middle * replicas) <= limit_s
            fits, fails = np.where(within, middle, fits), np.where(within, fails, middle)
        return fits * replicas

    def _candidate(self, i: int, pareto: bool, why: str) -> Candidate:
        parts, feasible = self._decode.parts, bool(self._batch[i] > 0)
        rate = float(self._rate[i])
        return Candidate(
            tp=int(parts.tp[i]),
            pp=int(parts.pp[i]),
            ep=int(parts.ep[i]),
            dp=int(parts.dp[i]),
            kvp=int(parts.kvp[i]),
            cp=int(parts.cp[i]),
            feasible=feasible,
            b_max=int(self._b_max[i]),
            b_max_by="max_num_seqs" if self._held_back[i] else "memory",
            batch=int(self._batch[i]),
            tokens_per_s_per_gpu=rate / int(parts.gpus[i]) if feasible else None,
            tokens_per_s=rate if feasible else None,
            latency_s=float(self._latency_s[i]) if feasible else None,
            pareto=pareto,
            why=why,
        )

    def _reasons(self) -> list[str]:
        cost = self._decode.cost(np.maximum(self._batch, 1.0), self._goal.context)
        names = [*PHASES, "communication", "host"]
        seconds = np.vstack([cost.phases_s, cost.communication_s, cost.host_s])
        largest = seconds.argmax(axis=0)
        share = seconds.max(axis=0) / seconds.sum(axis=0)
        by_memory = cost.memory_s >= cost.compute_s
        reasons = []
        for i, part in enumerate(largest):
            if self._batch[i] == 0:
                reasons.append(self._refusal(i))
                continue
            bound = ""
            if part < len(PHASES):
                bound = " reading memory" if by_memory[part, i] else " computing"
            reasons.append(f"{share[i]:.0%} of the step is {names[part]}{bound}")
        return reasons

    def _refusal(self, i: int) -> str:
        weights, left = self._weights[i] / GB, self._left[i] / GB
        if left <= 0:
            return f"weights of {weights:.1f} GB a GPU exceed what is usable by {-left:.1f} GB"
        if self._b_max[i] == 0:
            one = self._per_sequence[i] / GB
            return f"one sequence needs {one:.2f} GB of cache a GPU, {left:.2f} GB are left"
        if self._goal.batch is not None and self._goal.batch > self._b_max[i]:
            over = f"batch {self._goal.batch} is over the {self._b_max[i]:.0f} that"
            if self._held_back[i]:
                return f"{over} replicas of {self._goal.max_num_seqs} sequences each take"
            return f"{over} fit"
        return "no batch meets the latency limit"


def weight_bytes(model: Model, parts: Partitions, part: Shard) -> FloatArray:
    """Weights of the fullest GPU: layers over pp, experts over the stage, the rest as computed."""
    stage = np.ceil(model.layers / parts.pp) / model.layers
    ends = part.head_bytes + np.where(parts.pp == 1, part.embedding_bytes, 0.0)
    held = part.attention_bytes * stage + (part.dense_bytes * stage + ends) / parts.context_ways
    if model.experts:
        whole = model.experts.layers * model.experts.count * part.expert_bytes
        held = held + whole * stage / parts.stage
    return np.asarray(held)


def kv_bytes(model: Model, parts: Partitions, part: Shard, context: int) -> FloatArray:
    """Cache of one sequence on one GPU."""
    window = model.window
    near = context if window is None else min(context, window)
    stage = np.ceil(model.layers / parts.pp) / model.layers
    growing = part.kv_bytes_full * context + part.kv_bytes_windowed * near
    return np.asarray((growing + part.state_bytes) * stage)


def pareto_front(rate: FloatArray, latency_s: FloatArray) -> npt.NDArray[np.bool_]:
    """True where no other is better in one and no worse in the other; never where the rate is 0."""
    no_worse = (rate >= rate[:, None]) & (latency_s <= latency_s[:, None])
    better = (rate > rate[:, None]) | (latency_s < latency_s[:, None])
    front: npt.NDArray[np.bool_] = (rate > 0) & ~(no_worse & better).any(axis=1)
    return front
