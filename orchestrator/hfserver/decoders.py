"""The decoders by name."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from catalog.errors import UnknownName
from orchestrator.hfserver.decoder import Decoder
from orchestrator.hfserver.text import Text


@dataclass(frozen=True, slots=True)
class Loaded:
    """A decoder and its tokenizer."""

    decoder: Decoder
    text: Text


class DecoderModule(Protocol):
    """What a decoder's module offers to the command line of the server."""

    add_arguments: Callable[[argparse.ArgumentParser], None]
    load: Callable[[argparse.Namespace], Loaded]
    """Check the arguments before anything large is loaded; `model` is among them."""


# By module, so that a decoder's libraries are imported only when it is chosen.
DECODERS: dict[str, str] = {
    "causal": "orchestrator.hfserver.causal",
    "offload": "orchestrator.hfserver.offload.decoder",
    "quant": "orchestrator.hfserver.quant.decoder",
    "diffusion": "orchestrator.hfserver.diffusion.load",
}


def decoder_module(name: str) -> DecoderModule:
    if name not in DECODERS:
        raise UnknownName("decoder", name, DECODERS)
    module: DecoderModule = import_module(DECODERS[name])
    return module
