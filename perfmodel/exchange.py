"""What the GPUs of a layout send each other in one step, family by family."""

import math
from dataclasses import dataclass

import msgspec

from catalog.hardware import Gpu, Link
from catalog.models import Model
from catalog.units import DTYPE_BYTES
from perfmodel.collectives import (
    all_gather,
    all_reduce,
    all_to_all,
    direct_all_to_all,
    fabric,
    gather_by_nodes,
    node_then_network_all_reduce,
    point_to_point,
    reduce_scatter,
)
from perfmodel.constants import Constants
from perfmodel.kernel_tables.kernels import Kernels
from perfmodel.shard import computing_dtype, weight_dtypes
from strategies.knobs import GATHER_SCATTER
from strategies.layout import Layout


@dataclass(frozen=True, slots=True)
class CommunicationCost:
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
        self._kernels: Kernels | None = None
        self._layout = layout
        self._layers = model.layers
        self._moe_layers = model.experts.layers if model.experts else 0
        self._top_k = model.experts.top_k if model.experts else 0
        self._token_bytes = model.hidden * DTYPE_BYTES[computing_dtype(model)]
        self._sent_bytes = model.hidden * dispatched_bytes(model)
        self._tensor = tuned(gpu, layout.tp, constants)
        self._expert = tuned(gpu, layout.tp * layout.dp, constants)
        self._constants = constants
        self._together = gpu.island or gpu.per_node
        self._inside = tuned(gpu, min(layout.tp, self._together), constants)
        self._node = tuned(gpu, min(layout.tp * layout.dp, self._together), constants)
        self._stage = tuned(gpu, layout.num_gpus, constants)
        self._gathers = dict(layout.knobs).get("all2all", GATHER_SCATTER) == GATHER_SCATTER

    def use(self, kernels: Kernels) -> None:
        """Price what these kernels measured by them."""
        self._kernels = kernels

    def exchange(self, tokens: float) -> CommunicationCost:
        """`tokens` is what the fullest replica computes; the others pad to it."""
        size = tokens * self._token_bytes
        reduce_s = 2 * self._layers * self._all_reduce(size)
        stages = self._layout.pp
        return CommunicationCost(
            tensor_s=float(reduce_s),
            expert_s=float(self._moe_layers * self._dispatch(tokens)),
            pipeline_s=float((stages - 1) * point_to_point(size, stages, self._stage)),
        )

    def reduce_measured(self, tokens: float) -> bool:
        """Whether measured kernels price the all-reduces of so many tokens."""
        return self._measured_s(tokens * self._token_bytes) is not None

    def _measured_s(self, size: float) -> float | None:
        if self._kernels is None or self._layout.tp == 1:
            return None
        seconds = self._kernels.reduce_s(size)
        return seconds if math.isfinite(seconds) else None

    def _all_reduce(self, size: float) -> float:
        ranks, flat_s = self._layout.tp, self._constants.reduce_s
        if (measured_s := self._measured_s(size)) is not None:
            return measured_s
        if flat_s is None:
            return float(all_reduce(size, ranks, self._tensor))
        within = min(ranks, self._together)
        links = (self._inside, self._tensor)
        return float(node_then_network_all_reduce(size, ranks, links, within=within, flat_s=flat_s))

    def _dispatch(self, tokens: float) -> float:
        """There and back in one layer."""
        dp, tp = self._layout.dp, self._layout.tp
        if dp == 1:
            return 0.0
        whole = dp * tokens * self._token_bytes
        copies = tokens / tp * min(self._top_k, tp * dp)
        if self._constants.direct_s is not None:
            return self._by_nodes(whole, copies, self._constants.direct_s)
        if self._gathers:
            there = all_gather(whole, dp, self._expert)
            return float(there + reduce_scatter(whole, dp, self._expert))
        return float(2 * all_to_all(copies * self._token_bytes, tp * dp, self._expert))

    def _by_nodes(self, whole: float, copies: float, start_s: float) -> float:
        dp, ranks = self._layout.dp, self._layout.tp * self._layout.dp
        links = (self._node, self._expert)
        if self._gathers:
            within = min(dp, max(1, self._together // self._layout.tp))
            return float(2 * gather_by_nodes(whole, dp, links, within=within))
        within = min(ranks, self._together)
        sizes = (copies * self._sent_bytes, copies * self._token_bytes)
        both = [
            direct_all_to_all(size, ranks, links, within=within, start_s=start_s) for size in sizes
        ]
        return float(sum(both))


def dispatched_bytes(model: Model) -> float:
    """Bytes a value is sent to experts in: fp8 where they compute in it, else the computing type.

    Results come back in the computing type.
    """
    _, experts = weight_dtypes(model)
    return DTYPE_BYTES["fp8" if experts == "fp8" else computing_dtype(model)]


def direct_price(model: Model, layout: Layout) -> str | None:
    """Say why sending each token to its k experts has no price of its own here; None if it has.

    A rank is sent one copy at most, so k copies are priced where there are as many ranks. Over
    pure data parallelism k = dp copies take exactly the time of gathering.
    """
    top_k = model.experts.top_k if model.experts else 0
    ranks = layout.tp * layout.dp
    if layout.dp == 1:
        return "without data parallelism tokens are on every rank and nothing is dispatched"
    if top_k > ranks:
        return f"{top_k} copies of a token to {ranks} ranks are not priced"
    if layout.tp == 1 and top_k == ranks:
        return f"{top_k} copies of a token to {ranks} ranks cost what gathering them costs"
    return None


def tuned(gpu: Gpu, span: int, constants: Constants) -> Link:
    """The link of a group that `span` consecutive GPUs hold, at what of it is reached."""
    link = fabric(gpu, span=span)
    between = constants.between_efficiency
    reached = constants.network_efficiency
    if between is not None and span > (gpu.island or gpu.per_node):
        reached = between
    return msgspec.structs.replace(
        link,
        bandwidth_bytes_per_s=link.bandwidth_bytes_per_s * reached,
        latency_s=link.latency_s if constants.hop_s is None else constants.hop_s,
    )
