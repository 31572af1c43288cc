"""transformers in a server of moeserve's own, for techniques that vLLM lacks: one device."""

import contextlib
import sys
from collections.abc import AsyncIterator

import msgspec

from orchestrator.engines.base import Session, Site, Watch
from orchestrator.engines.command import make_weights, weights
from orchestrator.engines.hf import HfServer
from orchestrator.hfserver.causal import require_transformers
from orchestrator.hfserver.offload.options import OffloadOptions, arguments_of, options_of
from orchestrator.plan import ServerGroup
from strategies.technique import Technique, parse_technique

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
EVERY_EXPERT = 1.0


class TransformersEngine:
    """Starts one server of `orchestrator.hfserver` a group, on one GPU or the CPU."""

    def __init__(self) -> None:
        require_transformers()

    @contextlib.asynccontextmanager
    async def open(self, group: ServerGroup, site: Site, watch: Watch) -> AsyncIterator[Session]:
        make_weights(group, site)

        def command(port: int, served_name: str) -> list[str]:
            return transformers_command(group, site, port=port, served_name=served_name)

        async with HfServer(group, site, command).serving(watch) as session:
            yield session


def transformers_command(
    group: ServerGroup, site: Site, *, port: int, served_name: str
) -> list[str]:
    """Return the server's command line; the user's own arguments come last and win."""
    technique = parse_technique(group.setup.technique)
    return [
        *(sys.executable, "-m", "orchestrator.hfserver", *_decoder(technique)),
        *("--model", weights(site.experiment, site.model, technique)),
        *("--served-model-name", served_name),
        *("--host", "127.0.0.1", "--port", str(port)),
        *(word for part in technique.parts for word in _dtype(part.method)),
        *site.experiment.server.args,
    ]


def _decoder(technique: Technique) -> list[str]:
    """The plain decoder, or the one that packs experts: to offload them, or as int8."""
    knobs, int8 = technique.knobs("expert-offload"), technique.knobs("int8") is not None
    if knobs is None and not int8:
        return ["causal"]
    options = options_of(knobs) if knobs is not None else OffloadOptions(share=EVERY_EXPERT)
    if int8:
        options = msgspec.structs.replace(options, experts="int8")
    return ["offload", *arguments_of(options)]


def _dtype(method: str) -> list[str]:
    return ["--dtype", DTYPES[method]] if method in DTYPES else []
