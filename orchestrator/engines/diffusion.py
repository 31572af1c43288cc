"""Diffusion language models on transformers, behind the same HTTP as every other engine."""

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.cells import Run
from orchestrator.engines.base import Figure, Measurement, Session, Site, Watch
from orchestrator.engines.command import weights
from orchestrator.engines.hf import HfServer
from orchestrator.engines.http_session import HttpSession
from orchestrator.hfserver.causal import require_transformers
from orchestrator.hfserver.diffusion.seeded import NAMES, checkpoint
from orchestrator.plan import ServerGroup
from orchestrator.record import Provenance

COLUMNS = ("diffusion_steps", "block_length", "experts_implementation", "kv_cache", "commit_above")
"""Of the server's own account; they stand in the run table."""


class DiffusionEngine:
    """Starts one server of `orchestrator.hfserver` a group, on one GPU or the CPU."""

    def __init__(self) -> None:
        require_transformers()

    @contextlib.asynccontextmanager
    async def open(self, group: ServerGroup, site: Site, watch: Watch) -> AsyncIterator[Session]:
        if site.model.name in NAMES:
            checkpoint(site.model.name)

        def command(port: int, served_name: str) -> list[str]:
            return diffusion_command(site, port=port, served_name=served_name)

        server = HfServer(group, site, command, return_token_ids=True)
        async with server.serving(watch) as http:
            yield DiffusionSession(http, {name: http.details.get(name) for name in COLUMNS})


@dataclass(frozen=True, slots=True)
class DiffusionSession:
    """A session over HTTP whose runs also say how the answers were decoded."""

    http: HttpSession
    columns: Mapping[str, Figure]

    @property
    def provenance(self) -> Provenance:
        return self.http.provenance

    @property
    def gpu_type(self) -> str:
        return self.http.gpu_type

    @property
    def details(self) -> Mapping[str, Any]:
        return self.http.details

    async def measure(self, run: Run, watch: Watch) -> Measurement:
        measured = await self.http.measure(run, watch)
        return replace(measured, figures={**measured.figures, **self.columns})


def diffusion_command(site: Site, *, port: int, served_name: str) -> list[str]:
    """Return the server's command line; the user's own arguments come last and win."""
    return [
        *(sys.executable, "-m", "orchestrator.hfserver", "diffusion"),
        *("--model", weights_of(site)),
        *("--served-model-name", served_name),
        *("--host", site.host, "--port", str(port)),
        *site.experiment.server.args,
    ]


def weights_of(site: Site) -> str:
    """Return a seeded name, a directory, or a hub id: the one given, else the catalog's."""
    return site.model.name if site.model.name in NAMES else weights(site.experiment, site.model)
