"""What vLLM's log says of the layout it really runs: the asked one is a claim until then.

The witnesses are put together here: the arguments as the server repeats them, the configuration of
its engine cores, the ranks' own lines, the names of its processes. Where they contradict each
other, or one that is needed is missing, the layout is unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from catalog.errors import BadValue
from catalog.versions import release
from orchestrator.engines.vllm.log_facts import (
    Rank,
    arguments_text,
    arguments_told,
    capacities_told,
    decode_context_told,
    degrees_told,
    engines_told,
    expert_ranks_told,
    names_expert_ranks,
    ranks_told,
    version_told,
    weights_told,
)
from orchestrator.measure.server_log import LOADED, clean, stage_number, unwrapped
from strategies.layout import Layout

SAYS_EXPERTS = (0, 10, 2)
"""From this version on the ranks say it when experts are spread; before, the arguments alone do."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The layout as the server reported it; None where the log does not tell."""

    layout: Layout | None
    kv_tokens_capacity: int | None
    """Tokens of KV cache over all data-parallel ranks."""
    non_default_args: str
    model_memory_bytes: float | None = None
    """Weights of the fullest rank of those that tell: from 0.11.2 on the first of each node."""
    weights_of_all: bool = False
    """Whether the rank that tells its weights speaks for the others: not where stages differ."""
    version: str = ""
    decode_context: int = 1
    """Decode context parallelism: it has no GPUs of its own, so the layout does not name it."""


@dataclass(frozen=True, slots=True)
class _Degrees:
    """How many ranks there are along each axis."""

    tensor: int
    pipeline: int
    data: int
    context: int

    @property
    def replica(self) -> int:
        return self.tensor * self.pipeline * self.context

    def told_by(self, ranks: int) -> bool:
        """Whether what so many ranks tell of their weights holds for all: stages differ."""
        return self.pipeline == 1 or ranks >= self.replica * self.data

    @property
    def worlds(self) -> set[int]:
        """A rank's world; replicas of a model without experts do not know of each other."""
        return {self.replica * self.data, self.replica}


def observed(log: str) -> Observed:
    """Read the layout from the log of a server that is ready."""
    text = unwrapped(clean(log))
    arguments, ranks = arguments_told(text), ranks_told(text)
    degrees = _degrees(text, arguments, ranks)
    layout = _layout(text, degrees, arguments, ranks) if degrees else None
    weights = weights_told(text)
    return Observed(
        layout=layout,
        kv_tokens_capacity=_capacity(text, degrees) if degrees else None,
        non_default_args=arguments_text(text),
        model_memory_bytes=max(weights, default=None),
        weights_of_all=degrees is not None and degrees.told_by(len(weights)),
        version=version_told(text),
        decode_context=decode_context_told(text) or 1,
    )


def _degrees(
    text: str, arguments: Mapping[str, str] | None, ranks: Sequence[Rank]
) -> _Degrees | None:
    """Put the axes together; None where the log does not tell them or the ranks say otherwise."""
    told = degrees_told(text) or _of_all_ranks(ranks)
    if len(told) != 1:
        return None
    ((tensor, pipeline, data),) = told
    given = arguments or {}
    context = max((rank.context + 1 for rank in ranks), default=1)
    context = max(context, _number(given, "prefill_context_parallel_size") or 1)
    replica = tensor * pipeline * context
    asked, engines = _number(given, "data_parallel_size"), engines_told(text)
    if asked and data and data > 1 and asked != data:
        return None
    data = asked or data or _data_seen(ranks, replica)
    if data == 1:
        # Engines of a model without experts each say 1: their numbers tell how many there are.
        data = max(engines, default=0) + 1
    found = _Degrees(tensor, pipeline, data, context)
    return found if _agree(found, ranks, engines) else None


def _of_all_ranks(ranks: Sequence[Rank]) -> set[tuple[int, int, int | None]]:
    """The axes by the ranks' own lines, where every rank of a world has told its place."""
    worlds = {rank.world for rank in ranks}
    if len(worlds) != 1 or {rank.rank for rank in ranks} != set(range(*worlds)):
        return set()
    tensor = max(rank.tensor for rank in ranks) + 1
    return {(tensor, max(rank.pipeline for rank in ranks) + 1, None)}


def _data_seen(ranks: Sequence[Rank], replica: int) -> int:
    """Replicas by the ranks' places and worlds, where no configuration says a number."""
    by_world = [rank.world // replica for rank in ranks if rank.world % replica == 0]
    return max([1, *by_world, *(rank.data + 1 for rank in ranks)])


def _agree(degrees: _Degrees, ranks: Sequence[Rank], engines: set[int]) -> bool:
    """Whether every rank's line and every engine's name can be of these axes."""
    return all(number < degrees.data for number in engines) and all(
        rank.world in degrees.worlds
        and rank.data < degrees.data
        and rank.pipeline < degrees.pipeline
        and rank.tensor < degrees.tensor
        for rank in ranks
    )


def _layout(
    text: str, degrees: _Degrees, arguments: Mapping[str, str] | None, ranks: Sequence[Rank]
) -> Layout | None:
    if degrees.context > 1:
        return None  # prefill context parallelism has no name here: its GPUs are of no axis
    spread = expert_ranks_told(text)
    if not spread <= {degrees.tensor * degrees.data}:
        return None
    experts = _experts(text, arguments, ranks, spread)
    if degrees.tensor * degrees.data == 1:
        experts = False  # there is nothing to spread them over
    if experts is None:
        return None
    try:
        return Layout(tp=degrees.tensor, pp=degrees.pipeline, dp=degrees.data, ep=experts)
    except BadValue:
        return None


def _experts(
    text: str, arguments: Mapping[str, str] | None, ranks: Sequence[Rank], spread: set[int]
) -> bool | None:
    """Whether experts are spread whole; None where nothing that would tell is there.

    Some back ends never print a rank's line about its experts, versions before 0.10.2 none at all.
    """
    if spread:
        return True
    if any(rank.expert == -1 for rank in ranks):
        return False  # a model without experts, whatever was asked
    if names_expert_ranks(text):
        return True
    if arguments is not None:
        return arguments.get("enable_expert_parallel") == "True"
    says = release(version_told(text)) >= SAYS_EXPERTS
    return False if says and stage_number(text) >= LOADED else None


def _capacity(text: str, degrees: _Degrees) -> int | None:
    """Tokens over all replicas: of each engine the least that its workers tell, once for each.

    Up to 0.11.0 every worker prints it, later each engine; a node tells of its own engines only.
    """
    told = capacities_told(text)
    unnamed = told.pop(None, [])
    if unnamed and not told:
        return _of_unnamed(unnamed, degrees)
    each = {engine: min(values) for engine, values in told.items()}
    if len(each) == degrees.data:
        return sum(each.values())
    values = set(each.values())
    return values.pop() * degrees.data if len(values) == 1 else None


def _of_unnamed(values: Sequence[int], degrees: _Degrees) -> int | None:
    if degrees.data == 1:
        return min(values)
    if len(set(values)) == 1:
        return values[0] * degrees.data
    return sum(values) if len(values) == degrees.data else None


def _number(arguments: Mapping[str, str], name: str) -> int | None:
    text = arguments.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 else None
