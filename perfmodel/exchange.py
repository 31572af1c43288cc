"""What the GPUs of a layout send each other in one step, family by family."""

from dataclasses import dataclass

import msgspec

from catalog.hardware import Gpu, Link
from catalog.models import Model
from catalog.units import DTYPE_BYTES
from perfmodel.collectives import (
    all_gather,
    all_reduce,
    all_to_all,
    fabric,
    point_to_point,
    reduce_scatter,
)
from perfmodel.constants import Constants
from perfmodel.shard import default_kv_dtype
from strategies.layout import Layout

GATHER_SCATTER = "allgather_reducescatter"


@dataclass(frozen=True, slots=True)
class Exchange:
    """Seconds of communication in one step before any of it is hidden."""

    tensor_s: float
    """Two all-reduces a layer over the tensor-parallel group."""
    expert_s: float
    """Sending tokens to their experts and the results back."""
    pipeline_s: float

    @property
    def total_s(self) -> float:
        return self.tensor_s + self.expert_s + self.pipeline_s


class Fabric:
    """The links and groups of one model in one layout on one kind of GPU.

    vLLM's default dispatch over data-parallel ranks gathers every rank's tokens and
    reduce-scatters the results, so its volume does not depend on k; the other back ends send each
    token to its k experts alone. Without data parallelism tokens are on every rank already.
    """

    def __init__(self, model: Model, layout: Layout, gpu: Gpu, constants: Constants) -> None:
        self._layout = layout
        self._layers = model.layers
        self._moe_layers = model.experts.layers if model.experts else 0
        self._top_k = model.experts.top_k if model.experts else 0
        self._token_bytes = model.hidden * DTYPE_BYTES[default_kv_dtype(model)]
        self._tensor = _tuned(fabric(gpu, span=layout.tp), constants)
        self._expert = _tuned(fabric(gpu, span=layout.tp * layout.dp), constants)
        self._stage = _tuned(fabric(gpu, span=layout.num_gpus), constants)
        self._gathers = dict(layout.knobs).get("all2all", GATHER_SCATTER) == GATHER_SCATTER

    def exchange(self, tokens: float) -> Exchange:
        """`tokens` is what the fullest replica computes; the others pad to it."""
        size = tokens * self._token_bytes
        reduce_s = 2 * self._layers * all_reduce(size, self._layout.tp, self._tensor)
        stages = self._layout.pp
        return Exchange(
            tensor_s=float(reduce_s),
            expert_s=float(self._moe_layers * self._dispatch(size)),
            pipeline_s=float((stages - 1) * point_to_point(size, stages, self._stage)),
        )

    def _dispatch(self, size: float) -> float:
        dp, ranks = self._layout.dp, self._layout.tp * self._layout.dp
        if dp == 1:
            return 0.0
        if self._gathers:
            there = all_gather(dp * size, dp, self._expert)
            return float(there + reduce_scatter(dp * size, dp, self._expert))
        sent = size / self._layout.tp * min(self._top_k, ranks)
        return float(2 * all_to_all(sent, ranks, self._expert))


def _tuned(link: Link, constants: Constants) -> Link:
    return msgspec.structs.replace(
        link,
        bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * constants.network_efficiency,
        latency_s=link.latency_s if constants.hop_s is None else constants.hop_s,
    )
