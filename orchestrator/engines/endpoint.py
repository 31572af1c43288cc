"""A server that already runs: nothing is started, and its layout is what the user says it is."""

import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadFile, EndpointError
from orchestrator.engines.base import Session, Site, Watch
from orchestrator.engines.control import Control
from orchestrator.engines.http_session import HttpSession
from orchestrator.engines.readiness import prove_ready
from orchestrator.engines.vllm import provenance_of
from orchestrator.experiment import Experiment
from orchestrator.plan import ServerGroup
from workloads.target import Target

API_KEY_VARIABLE = "MOESERVE_API_KEY"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a running server says it serves."""

    base_url: str
    served_name: str


def api_key(experiment: Experiment) -> str:
    """Read the key from the file named in the experiment, else from the environment."""
    if experiment.api_key_file is None:
        return os.environ.get(API_KEY_VARIABLE, "")
    try:
        return Path(experiment.api_key_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(experiment.api_key_file, f"cannot be read: {error}") from error


async def inspect(experiment: Experiment) -> Endpoint:
    """Ask a running server what it serves, before anything else is done."""
    url = experiment.endpoint
    assert url is not None
    Target(base_url=url, model="")  # refuses what is no URL
    async with Control(url, api_key=api_key(experiment)) as control:
        listed = [str(entry.get("id")) for entry in await control.models()]
    return Endpoint(url, listed[0])


class EndpointEngine:
    """Measures a server that somebody else started and will stop."""

    @contextlib.asynccontextmanager
    async def open(self, group: ServerGroup, site: Site, watch: Watch) -> AsyncIterator[Session]:
        experiment = site.experiment
        endpoint = await inspect(experiment)
        key = api_key(experiment)
        target = Target(base_url=endpoint.base_url, model=endpoint.served_name, api_key=key)
        async with Control(endpoint.base_url, api_key=key) as control:
            watch.on_stage("proving the server ready")
            try:
                await prove_ready(target, control, ranks=1, vocab=site.model.vocab)
            except Exception as error:
                raise EndpointError(f"{endpoint.base_url}: {error}") from error
            yield HttpSession(
                target=target,
                control=control,
                vocab=site.model.vocab,
                provenance=await provenance_of(control),
                gpu_type=group.setup.hardware,
                details={
                    "endpoint": endpoint.base_url,
                    "served_name": endpoint.served_name,
                    "version": await control.version(),
                },
                num_warmups=experiment.num_warmups,
            )
