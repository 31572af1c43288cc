"""Greedy decoding with quantised weights, as a decoder of the server."""

import argparse

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
from servers.huggingface.quant.install import install
from servers.huggingface.quant.options import BITS, GROUPS, SCHEMES, QuantOptions
from servers.huggingface.quant.tensor_memory import tensor_bytes
from servers.huggingface.text import load_text
from strategies.methods import HQQ_BITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    causal.add_arguments(parser)
    parser.add_argument("--scheme", choices=SCHEMES, required=True)
    parser.add_argument("--bits", type=int, choices=HQQ_BITS, default=BITS, help="of hqq")
    parser.add_argument("--group", type=int, help="weights that share a scale: hqq, torchao-int4")


def load(args: argparse.Namespace) -> Loaded:
    group = GROUPS.get(args.scheme) if args.group is None else args.group
    options = QuantOptions(scheme=args.scheme, bits=args.bits, group=group)
    options.require_library()
    folder, device = checkpoint_folder(args.model), device_of(args.device)
    if options.scheme == "torchao-int4" and device == "cpu":
        raise BadValue("technique torchao-int4", device, "a GPU")
    from transformers import AutoConfig

    if getattr(AutoConfig.from_pretrained(str(folder)), "quantization_config", None):
        allowed = "a checkpoint in full precision: this one is quantised already"
        raise BadValue(f"technique {options.scheme}", args.model, allowed)
    text = load_text(folder)
    model, pruned = model_in_host_memory(folder, text, args)
    options.check_dtype(f"{model.dtype}".removeprefix("torch."))
    share = install(model, options, device=device)
    details: dict[str, str | int | float] = {
        "decoder": "quant",
        "scheme": options.scheme,
        "device": str(model.device),
        "dtype": str(model.dtype),
        "quantised_share": share,
        "device_memory_bytes": tensor_bytes(model),
        **pruned,
    }
    decoder = CausalDecoder(
        model, eos_of(model.config), args.max_batch, details, recorder_of(model, args)
    )
    return Loaded(decoder, text)
