"""The experts of one layer, computed from a cache: a stand-in for transformers' own module."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn
from torch.nn.functional import linear

from servers.huggingface.offload.cache import ExpertCache, ExpertKey
from servers.huggingface.offload.copies import SlotCopies
from servers.huggingface.offload.costs import Costs
from servers.huggingface.offload.gating import NOBODY, SkipRule
from servers.huggingface.offload.packed import PackedExperts

if TYPE_CHECKING:
    from torch import Tensor

Activation = Callable[["Tensor"], "Tensor"]
ExpertPredictor = Callable[["Tensor"], tuple["Tensor", "Tensor"]]
"""From a layer's input to the experts a later layer will probably want and weights, (T, k)."""


@dataclass(slots=True)
class Residency:
    """The arena on the device, its caches, and what moved through them."""

    arena: PackedExperts
    host: Sequence[PackedExperts]
    """By layer."""
    caches: Sequence[ExpertCache]
    """By layer, or the same one for all."""
    act: Activation
    where: str = "move"
    costs: Costs | None = None
    rule: SkipRule | None = None
    moved_bytes: int = 0
    host_computed: int = 0
    peak_bytes: int = 0
    distinct: list[ExpertCache] = field(init=False)
    copies: SlotCopies = field(init=False)

    def __post_init__(self) -> None:
        self.distinct = list({id(cache): cache for cache in self.caches}.values())
        self.copies = SlotCopies(on_gpu=self.arena.weights.is_cuda)

    @property
    def resident_bytes(self) -> int:
        count = sum(len(cache.resident) for cache in self.distinct)
        return count * self.arena.expert_bytes

    def compute(self, key: ExpertKey, tokens: "Tensor") -> "Tensor":
        """Compute one expert where it is, or where it is to be."""
        cache = self.caches[key[0]]
        slot = cache.use(key)
        # A free slot is filled in any case: what is in it later costs nothing any more.
        if slot is None and cache.full and self.on_host(len(tokens)):
            return self._on_host(key, tokens)
        if slot is None:
            slot = self.fetch(key)
        assert slot is not None  # with nothing to keep there is always one
        self.copies.await_slot(slot)
        return product(self.arena, slot, tokens, self.act)

    def on_host(self, tokens: int) -> bool:
        if self.where == "measured":
            assert self.costs is not None
            return self.costs.host_is_quicker(tokens)
        return self.where == "host"

    def fetch(
        self, key: ExpertKey, *, keep: Collection[ExpertKey] = (), guessed: bool = False
    ) -> int | None:
        """Move an expert into a slot; a guessed one beside whatever is being computed."""
        layer, expert = key
        slot = self.caches[layer].take(key, keep=keep, guessed=guessed)
        if slot is not None:
            with self.copies.into(slot, beside=guessed):
                self.moved_bytes += self.arena.fetch(slot, self.host[layer], expert)
            self.peak_bytes = max(self.peak_bytes, self.resident_bytes)
        return slot

    def _on_host(self, key: ExpertKey, tokens: "Tensor") -> "Tensor":
        """Only activations travel: there and back."""
        layer, expert = key
        self.host_computed += 1
        there = tokens.to("cpu")
        result = product(self.host[layer], expert, there, self.act)
        if tokens.is_cuda:
            self.moved_bytes += there.nbytes + result.nbytes
        return result.to(tokens.device)


def product(store: PackedExperts, row: int, tokens: "Tensor", act: Activation) -> "Tensor":
    """down(act(gate x) * up x), operation for operation as transformers' own experts."""
    gate_up, down = store.matrices(row)
    gate, up = linear(tokens, gate_up).chunk(2, dim=-1)
    return linear(act(gate) * up, down)


class OffloadedExperts(nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Takes the place of a layer's `experts`; same arguments, same result."""

    def __init__(
        self,
        layer: int,
        residency: Residency,
        *,
        predictors: Sequence[ExpertPredictor] = (),
        prefetch: int = 0,
    ) -> None:
        super().__init__()
        self.layer, self.residency = layer, residency
        self.predictors, self.prefetch = predictors, prefetch

    def forward(self, hidden: "Tensor", chosen: "Tensor", weights: "Tensor") -> "Tensor":
        import torch

        rule = self.residency.rule
        if rule is not None:
            chosen, weights = rule.apply(self.layer, chosen, weights)
        needed = {(self.layer, expert) for expert in chosen.unique().tolist() if expert != NOBODY}
        if self.prefetch:
            self._fetch_ahead(hidden, needed)
        resident = self.residency.caches[self.layer].resident
        # Those that are there first: what is fetched meanwhile must not push them out.
        order = sorted(needed, key=lambda key: (key not in resident, key))
        parts = {key: self._part(key, hidden, chosen, weights) for key in order}
        output = torch.zeros_like(hidden)
        for key in sorted(parts):  # the order of summation decides the last bits
            tokens, result = parts[key]
            output.index_add_(0, tokens, result.to(output.dtype))
        return output

    def _part(
        self, key: ExpertKey, hidden: "Tensor", chosen: "Tensor", weights: "Tensor"
    ) -> tuple["Tensor", "Tensor"]:
        """Return the tokens that chose an expert, and what it adds to each."""
        import torch

        place, tokens = torch.where((chosen == key[1]).T)
        result = self.residency.compute(key, hidden[tokens])
        return tokens, result * weights[tokens, place, None]

    def _fetch_ahead(self, hidden: "Tensor", needed: set[ExpertKey]) -> None:
        """Fetch for the first later layer that lacks a guessed expert, at most `prefetch` of them.

        AdapMoE (arXiv 2408.10284, section 4) looks further where the next layer has all it wants.
        """
        keep = set(needed)
        for layer, predictor in enumerate(self.predictors, self.layer + 1):
            wanted = self._wanted(layer, *predictor(hidden))
            keep.update(wanted)
            resident = self.residency.caches[layer].resident
            missing = [key for key in wanted if key not in resident]
            for key in missing[: self.prefetch]:
                self.residency.fetch(key, keep=keep, guessed=True)
            if missing:
                return

    def _wanted(self, layer: int, guessed: "Tensor", weights: "Tensor") -> list[ExpertKey]:
        """The guessed experts, those of most tokens first, without what would be left out."""
        rule = self.residency.rule
        if rule is not None:
            guessed = guessed.masked_fill(rule.spared(layer, weights), NOBODY)
        experts, votes = guessed.unique(return_counts=True)
        ranked = sorted(zip((-votes).tolist(), experts.tolist(), strict=True))
        return [(layer, expert) for _, expert in ranked if expert != NOBODY]
