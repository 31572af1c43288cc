"""transformers in a server of moeserve's own, for techniques that vLLM lacks: one device."""

import contextlib
from collections.abc import AsyncIterator

from catalog.python import python_module
from orchestrator.engine import Callbacks, LaunchContext, Session
from orchestrator.engines.checkpoints import make_weights, weights
from orchestrator.engines.one_device import OneDeviceServer
from orchestrator.experiment.effective_model import stored_model
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.measure.expert_load import RoutedExperts
from orchestrator.measure.expert_session import ExpertSession
from servers.huggingface.causal import require_transformers
from servers.huggingface.dispatch import options as dispatch
from servers.huggingface.offload.options import arguments_of, budget_of
from servers.huggingface.pruning import options as pruning
from servers.huggingface.quant import options as quant
from servers.huggingface.routing import FLAG
from strategies.technique import Technique

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class TransformersEngine:
    """Starts one server of `servers.huggingface` a group, on one GPU or the CPU."""

    def __init__(self) -> None:
        require_transformers()

    @contextlib.asynccontextmanager
    async def open(
        self, group: ServerGroup, context: LaunchContext, callbacks: Callbacks
    ) -> AsyncIterator[Session]:
        make_weights(group, context)

        def command(port: int, served_name: str) -> list[str]:
            return transformers_command(group, context, port=port, served_name=served_name)

        served = stored_model(group.setup, context.model)
        experts = served.experts if context.experiment.expert_load else None
        async with OneDeviceServer(group, context, command).serving(callbacks) as session:
            yield ExpertSession(session, RoutedExperts(experts.count, None)) if experts else session


def transformers_command(
    group: ServerGroup, context: LaunchContext, *, port: int, served_name: str
) -> list[str]:
    """Return the server's command line; the user's own arguments come last and win."""
    technique = group.setup.technique
    return [
        *(*python_module("servers.huggingface"), *_decoder(technique)),
        *("--model", weights(context.experiment, context.model, technique)),
        *("--served-model-name", served_name),
        *("--host", "127.0.0.1", "--port", str(port)),
        *(word for part in technique.parts for word in _dtype(part.method)),
        *pruning.arguments_of(pruning.options_of(technique)),
        *((FLAG,) if context.experiment.expert_load else ()),
        *context.experiment.server.args,
    ]


def _decoder(technique: Technique) -> list[str]:
    """The plain decoder, one that quantises or spreads, or one that packs experts."""
    spread = dispatch.options_of(technique)
    if spread is not None:
        return ["dispatch", *dispatch.arguments_of(spread)]
    quantised = quant.options_of(technique)
    if quantised is not None:
        return ["quant", *quant.arguments_of(quantised)]
    options = budget_of(technique)
    return ["causal"] if options is None else ["offload", *arguments_of(options)]


def _dtype(method: str) -> list[str]:
    return ["--dtype", DTYPES[method]] if method in DTYPES else []
