"""What decode context parallel ranks send each other, each of which holds a part of the cache.

As vLLM does it. A rank's queries are gathered over the group, scored against each part of the
cache, and the partial results reduce-scattered. With latent attention that is so for decode alone:
a prompt's chunk gathers the latents before it instead. The softmax sums that merge the parts, one
number a head, are left out, and so is what gathering writes to memory.
"""

from catalog.hardware import Gpu
from catalog.models import LatentAttention, Model
from catalog.units import DTYPE_BYTES
from perfmodel.collectives import all_gather, reduce_scatter
from perfmodel.constants import Constants
from perfmodel.exchange import tuned
from perfmodel.load import StepLoad
from perfmodel.shard import computing_dtype, context_ways
from strategies.layout import Layout


class ContextExchange:
    """The exchange of one model in one layout; it takes no time where no cache is split so."""

    def __init__(self, model: Model, layout: Layout, gpu: Gpu, constants: Constants) -> None:
        attention, element = model.attention, DTYPE_BYTES[computing_dtype(model)]
        self._ranks, self._layers = context_ways(layout), model.layers
        self._link = tuned(gpu, self._ranks, constants)
        self._latent = isinstance(attention, LatentAttention)
        heads = self._ranks * attention.heads / layout.tp
        if isinstance(attention, LatentAttention):  # absorbed: scored against the latent itself
            query, partial = attention.kv_elements, attention.kv_rank
        else:
            query = partial = attention.head_dim
        self._query_bytes, self._partial_bytes = heads * query * element, heads * partial * element
        self._latent_bytes = attention.kv_elements * element

    def seconds(self, load: StepLoad, *, ways: int = 1) -> float:
        """Time of one step, in all layers, of one of the `ways` micro-batches of a load."""
        if self._ranks == 1:
            return 0.0
        scored = load.decode_sequences if self._latent else load.tokens
        gathered = scored * self._query_bytes
        if self._latent:
            gathered += load.prefill_context * self._latent_bytes
        there = all_gather(gathered / ways, self._ranks, self._link)
        back = reduce_scatter(scored * self._partial_bytes / ways, self._ranks, self._link)
        return float(self._layers * (there + back))
