"""The decoders by name."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from catalog.errors import UnknownName
from servers.huggingface.decoder import Decoder
from servers.huggingface.text import TextCodec


@dataclass(frozen=True, slots=True)
class Loaded:
    """A decoder and its tokenizer."""

    decoder: Decoder
    text: TextCodec


class DecoderModule(Protocol):
    """What a decoder's module offers to the command line of the server."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    load: Callable[[argparse.Namespace], Loaded]
    """Check the arguments before anything large is loaded; `model` is among them."""


# By module, so that a decoder's libraries are imported only when it is chosen.
DECODERS: dict[str, str] = {
    "causal": "servers.huggingface.causal",
    "offload": "servers.huggingface.offload.decoder",
    "dispatch": "servers.huggingface.dispatch.decoder",
    "quant": "servers.huggingface.quant.decoder",
    "diffusion": "servers.huggingface.diffusion.load",
}


def decoder_module(name: str) -> DecoderModule:
    if name not in DECODERS:
        raise UnknownName("decoder", name, DECODERS)
    module: DecoderModule = import_module(DECODERS[name])
    return module
