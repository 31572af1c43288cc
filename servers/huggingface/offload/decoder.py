"""Greedy decoding with experts offloaded, as a decoder of the server."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field

from catalog.errors import BadValue
from servers.huggingface import causal
from servers.huggingface.causal import (
    CausalDecoder,
    checkpoint_folder,
    device_of,
    eos_of,
    model_in_host_memory,
    recorder_of,
)
from servers.huggingface.decoder_registry import Loaded
from servers.huggingface.offload.experts import Residency
from servers.huggingface.offload.install import device_weight_bytes, install
from servers.huggingface.offload.options import OffloadOptions
from servers.huggingface.text import load_text


@dataclass(slots=True)
class OffloadDecoder(CausalDecoder):
    """A causal decoder that also counts what its experts' cache did."""

    residency: Residency = field(kw_only=True)

    def counters(self) -> Mapping[str, float]:
        residency = self.residency
        names = ("hits", "misses", "prefetched", "prefetch_hits")
        summed = {
            f"expert_{name}": sum(getattr(cache.counts, name) for cache in residency.distinct)
            for name in names
        }
        return {
            "forward_passes": self._passes,
            **summed,
            "expert_moved_bytes": residency.moved_bytes,
            "expert_host_computed": residency.host_computed,
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


def load(args: argparse.Namespace) -> Loaded:
    options = OffloadOptions(
        resident=args.resident,
        memory_bytes=args.memory_bytes,
        share=args.share,
        cache=args.cache,
        prefetch=args.prefetch,
        experts=args.experts,
        compute=args.compute,
    )
    for name in ("resident", "memory_bytes", "share"):
        if (value := getattr(options, name)) is not None and value <= 0:
            raise BadValue(f"--{name.replace('_', '-')}", value, "above 0")
    folder, device = checkpoint_folder(args.model), device_of(args.device)
    text = load_text(folder)
    model, pruned = model_in_host_memory(folder, text, args)
    residency = install(model, options, device=device)
    details: dict[str, str | int | float] = {
        "decoder": "offload",
        "device": str(model.device),
        "dtype": str(model.dtype),
        "expert_bytes": residency.arena.expert_bytes,
        "resident_experts": residency.arena.count,
        "arena_bytes": residency.arena.nbytes,
        "device_memory_bytes": device_weight_bytes(model, residency.arena),
        **_measured(residency),
        **pruned,
    }
    decoder = OffloadDecoder(
        model,
        eos_of(model.config),
        args.max_batch,
        details,
        recorder_of(model, args),
        residency=residency,
    )
    return Loaded(decoder, text)


def _measured(residency: Residency) -> dict[str, float]:
    costs = residency.costs
    if costs is None:
        return {}
    return {"expert_move_s": costs.move_s, "expert_host_s": costs.host_s}
