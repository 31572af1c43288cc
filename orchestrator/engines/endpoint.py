"""A server that already runs: nothing is started, and its layout is what the user says it is."""

import contextlib
from collections.abc import AsyncIterator

from catalog.errors import EndpointError
from orchestrator.engines.base import Session, Site, Watch
from orchestrator.engines.control import Control
from orchestrator.engines.expert_session import ExpertSession
from orchestrator.engines.http_session import HttpSession
from orchestrator.engines.readiness import prove_ready
from orchestrator.engines.running import api_key, inspect
from orchestrator.engines.vllm import provenance_of
from orchestrator.expert_load import Experts
from orchestrator.plan import ServerGroup
from workloads.target import Target


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
            session = HttpSession(
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
                client_workers=experiment.client_workers,
            )
            routed = site.model.experts if experiment.expert_load else None
            yield ExpertSession(session, Experts(routed.count, None)) if routed else session
