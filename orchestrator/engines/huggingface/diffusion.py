"""Diffusion language models on transformers, behind the same HTTP as every other engine."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

from catalog.python import python_module
from orchestrator.engine import Callbacks, Figure, LaunchContext, Measurement, Session
from orchestrator.engines.checkpoints import weights
from orchestrator.engines.one_device import OneDeviceServer
from orchestrator.experiment.cells import Run
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.measure.http_session import WrappedSession
from servers.huggingface.causal import require_transformers
from servers.huggingface.diffusion.seeded import NAMES, checkpoint

COLUMNS = ("diffusion_steps", "block_length", "experts_implementation", "kv_cache", "commit_above")
"""Of the server's own account; they stand in the run table."""


class DiffusionEngine:
    """Starts one server of `servers.huggingface` a group, on one GPU or the CPU."""

    def __init__(self) -> None:
        require_transformers()

    @contextlib.asynccontextmanager
    async def open(
        self, group: ServerGroup, context: LaunchContext, callbacks: Callbacks
    ) -> AsyncIterator[Session]:
        if context.model.name in NAMES:
            checkpoint(context.model.name)

        def command(port: int, served_name: str) -> list[str]:
            return diffusion_command(context, port=port, served_name=served_name)

        server = OneDeviceServer(group, context, command, return_token_ids=True)
        async with server.serving(callbacks) as http:
            yield DiffusionSession(http, {name: http.details.get(name) for name in COLUMNS})


@dataclass(frozen=True, slots=True)
class DiffusionSession(WrappedSession):
    """A session over HTTP whose runs also say how the answers were decoded."""

    columns: Mapping[str, Figure]

    async def measure(self, run: Run, callbacks: Callbacks) -> Measurement:
        measured = await self.http.measure(run, callbacks)
        return replace(measured, figures={**measured.figures, **self.columns})


def diffusion_command(context: LaunchContext, *, port: int, served_name: str) -> list[str]:
    """Return the server's command line; the user's own arguments come last and win."""
    return [
        *(*python_module("servers.huggingface"), "diffusion"),
        *("--model", weights_of(context)),
        *("--served-model-name", served_name),
        *("--host", context.host, "--port", str(port)),
        *context.experiment.server.args,
    ]


def weights_of(context: LaunchContext) -> str:
    """Return a seeded name, a directory, or a hub id: the one given, else the catalog's."""
    return (
        context.model.name
        if context.model.name in NAMES
        else weights(context.experiment, context.model)
    )
