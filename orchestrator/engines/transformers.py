"""transformers in a server of moeserve's own, for techniques that vLLM lacks: one device."""

import contextlib
import sys
from collections.abc import AsyncIterator

from orchestrator.engines.base import Session, Site, Watch
from orchestrator.engines.command import make_weights, weights
from orchestrator.engines.hf import HfServer
from orchestrator.hfserver.causal import require_transformers
from orchestrator.hfserver.offload.options import arguments_of, budget_of
from orchestrator.hfserver.quant import options as quant
from orchestrator.plan import ServerGroup
from strategies.technique import Technique, parse_technique

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


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
    """The plain decoder, one that quantises, or one that packs experts: offloaded, or as int8."""
    quantised = quant.options_of(technique)
    if quantised is not None:
        return ["quant", *quant.arguments_of(quantised)]
    options = budget_of(technique)
    return ["causal"] if options is None else ["offload", *arguments_of(options)]


def _dtype(method: str) -> list[str]:
    return ["--dtype", DTYPES[method]] if method in DTYPES else []
