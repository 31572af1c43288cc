"""Greedy decoding with experts offloaded, as a decoder of the server."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field

from catalog.errors import BadValue
from orchestrator.hfserver import causal
from orchestrator.hfserver.causal import CausalDecoder, checkpoint_folder, device_of, eos_of
from orchestrator.hfserver.decoders import Loaded
from orchestrator.hfserver.offload.experts import Residency
from orchestrator.hfserver.offload.install import held_bytes, install
from orchestrator.hfserver.offload.options import OffloadOptions
from orchestrator.hfserver.text import load_text


@dataclass(slots=True)
class OffloadDecoder(CausalDecoder):
    """A causal decoder that also counts what its experts' cache did."""

    residency: Residency = field(kw_only=True)

    def counters(self) -> Mapping[str, float]:
        held = self.residency
        names = ("hits", "misses", "prefetched", "prefetch_hits")
        summed = {
            f"expert_{name}": sum(getattr(cache.counts, name) for cache in held.distinct)
            for name in names
        }
        return {
            "forward_passes": self._passes,
            **summed,
            "expert_moved_bytes": held.moved_bytes,
            "expert_host_computed": held.host_computed,
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    causal.add_arguments(parser)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--resident", type=int, help="experts of each layer on the device")
    budget.add_argument("--memory-bytes", type=float, help="of one cache for all layers")
    budget.add_argument("--share", type=float, help="of all experts, in one cache")
    parser.add_argument("--cache", choices=("lru", "activation"), default="lru")
    parser.add_argument("--prefetch", type=int, default=0, help="experts of the next layer")
    parser.add_argument("--experts", choices=("full", "int8"), default="full")
    parser.add_argument("--compute", choices=("move", "host", "measured"), default="move")


def load(known: argparse.Namespace) -> Loaded:
    options = OffloadOptions(
        resident=known.resident,
        memory_bytes=known.memory_bytes,
        share=known.share,
        cache=known.cache,
        prefetch=known.prefetch,
        experts=known.experts,
        compute=known.compute,
    )
    for name in ("resident", "memory_bytes", "share"):
        if (value := getattr(options, name)) is not None and value <= 0:
            raise BadValue(f"--{name.replace('_', '-')}", value, "above 0")
    folder, device = checkpoint_folder(known.model), device_of(known.device)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=known.dtype).eval()
    residency = install(model, options, device=device)
    details: dict[str, str | int | float] = {
        "decoder": "offload",
        "device": str(model.device),
        "dtype": str(model.dtype),
        "expert_bytes": residency.arena.expert_bytes,
        "resident_experts": residency.arena.count,
        "arena_bytes": residency.arena.nbytes,
        "device_memory_bytes": held_bytes(model, residency.arena),
        **_measured(residency),
    }
    decoder = OffloadDecoder(
        model, eos_of(model.config), known.max_batch, details, residency=residency
    )
    return Loaded(decoder, load_text(folder))


def _measured(residency: Residency) -> dict[str, float]:
    costs = residency.costs
    if costs is None:
        return {}
    return {"expert_move_s": costs.move_s, "expert_host_s": costs.host_s}
