"""What of a layout the model prices: the rest is refused, since it would look equal to without."""

from catalog.errors import BadValue
from catalog.models import GroupedQueryAttention, Model
from perfmodel.exchange import direct_price
from perfmodel.shard import context_ways
from strategies.knobs import DIRECT, GATHER_SCATTER, refuse_unpriced
from strategies.layout import Layout


def check_priced(layout: Layout, model: Model) -> None:
    """Raise BadValue, naming the knob, where a layout's time or memory would be a guess."""
    refuse_unpriced(layout)
    knobs = dict(layout.knobs)
    why = direct_price(model, layout) if knobs.get("all2all") == DIRECT else None
    if why is not None:
        given = f"{layout.name} of {model.name}"
        raise BadValue("knob all2all", given, f"in simulation {GATHER_SCATTER}: {why}")
    ways, most = context_ways(layout), _most_context_ways(layout, model)
    if ways > most:
        allowed = f"1 to {most}, tp over KV heads: the cache is split by heads already"
        raise BadValue("knob dcp", f"{layout.name} of {model.name}", allowed)
    _check_queries(layout, model, ways)


def _most_context_ways(layout: Layout, model: Model) -> int:
    """vLLM's own limit (`config/model.py`): a part of the cache each, beyond the split by heads."""
    return max(1, layout.tp // model.attention.kv_heads)


def _check_queries(layout: Layout, model: Model, ways: int) -> None:
    attention = model.attention
    if not isinstance(attention, GroupedQueryAttention):
        return
    queries = attention.heads // attention.kv_heads
    if queries % ways:
        allowed = f"a divisor of the {queries} query heads of a KV head, as vLLM asks"
        raise BadValue("knob dcp", f"{layout.name} of {model.name}", allowed)
