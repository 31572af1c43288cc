"""The load generator away from its server: on another node, or in the driver."""

import contextlib
from collections.abc import AsyncIterator

from orchestrator.experiment.experiment import Experiment
from orchestrator.measure.control import Control, provenance_of
from orchestrator.measure.http_session import HttpSession
from workloads.transport.target import Target


@contextlib.asynccontextmanager
async def remote_client(
    target: Target, experiment: Experiment, *, vocab: int, gpu_type: str
) -> AsyncIterator[HttpSession]:
    """Give a session on a server that is ready; its own node watches whether it lives."""
    async with Control(target.base_url, api_key=target.api_key or None) as control:
        yield HttpSession(
            target=target,
            control=control,
            vocab=vocab,
            provenance=await provenance_of(control),
            gpu_type=gpu_type,
            details={},
            num_warmups=experiment.num_warmups,
            client_workers=experiment.client_workers,
        )
