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
from servers.huggingface.text import TextCodec, load_text
from workloads.quality.windows import SAMPLE, read_text


@dataclass(slots=True)
class OffloadDecoder(CausalDecoder):
    """A causal decoder that also counts what its experts' cache did."""

    residency: Residency = field(kw_only=True)

    def counters(self) -> Mapping[str, float]:
        residency, rule = self.residency, self.residency.rule
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
            **({"expert_chosen": rule.chosen, "expert_skipped": rule.skipped} if rule else {}),
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    causal.add_arguments(parser)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--resident", type=int, help="experts of each layer on the device")
    budget.add_argument("--memory-bytes", type=float, help="of one cache for all layers")
    budget.add_argument("--share", type=float, help="of all experts, in one cache")
    parser.add_argument("--cache", choices=("lru", "activation"), default="lru")
    parser.add_argument("--prefetch", type=int, default=0, help="experts of a later layer")
    parser.add_argument("--ahead", type=int, default=1, help="layers looked at for that")
    parser.add_argument("--split", choices=("none", "layers"), default="none")
    parser.add_argument("--skip", type=float, default=0.0, help="sensitivity threshold, 0 to 1")
    parser.add_argument(
        "--calibration", default=SAMPLE, help="text that --skip and --split learn from"
    )
    parser.add_argument("--experts", choices=("full", "int8"), default="full")
    parser.add_argument("--compute", choices=("move", "host", "measured"), default="move")


def load(args: argparse.Namespace) -> Loaded:
    options = OffloadOptions(
        resident=args.resident,
        memory_bytes=args.memory_bytes,
        share=args.share,
        cache=args.cache,
        prefetch=args.prefetch,
        ahead=args.ahead,
        split=args.split,
        skip=args.skip,
        experts=args.experts,
        compute=args.compute,
    )
    for name in ("resident", "memory_bytes", "share"):
        if (value := getattr(options, name)) is not None and value <= 0:
            raise BadValue(f"--{name.replace('_', '-')}", value, "above 0")
    if not 0 <= options.skip <= 1:
        raise BadValue("--skip", options.skip, "0 to 1")
    if options.ahead < 1:
        raise BadValue("--ahead", options.ahead, "1 or more")
    folder, device = checkpoint_folder(args.model), device_of(args.device)
    text = load_text(folder)
    model, pruned = model_in_host_memory(folder, text, args)
    tokens = _calibration_tokens(args.calibration, text) if options.calibrated else ()
    residency = install(model, options, device=device, text=tokens)
    details: dict[str, str | int | float] = {
        "decoder": "offload",
        "device": str(model.device),
        "dtype": str(model.dtype),
        "expert_bytes": residency.arena.expert_bytes,
        "resident_experts": residency.arena.count,
        "arena_bytes": residency.arena.nbytes,
        "device_memory_bytes": device_weight_bytes(model, residency.arena),
        **_measured(residency, options),
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


def _calibration_tokens(source: str, text: TextCodec) -> tuple[int, ...]:
    """Read the text that calibrates, in the model's own tokens."""
    try:
        return text.encode(read_text(source), special=False)
    except BadValue:
        allowed = "a model with a tokenizer: skip and split=layers learn from a text"
        raise BadValue("technique expert-offload", "a model without one", allowed) from None


def _measured(residency: Residency, options: OffloadOptions) -> dict[str, str | float]:
    """What was timed or learned before the first request."""
    told: dict[str, str | float] = {}
    if residency.costs is not None:
        told |= {"expert_move_s": residency.costs.move_s, "expert_host_s": residency.costs.host_s}
    if residency.rule is not None:
        told["sensitivities"] = " ".join(f"{each:.3g}" for each in residency.rule.sensitivities)
    if options.split == "layers":
        told["cache_slots"] = " ".join(f"{len(each.slots)}" for each in residency.caches)
    return told
