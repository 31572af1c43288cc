"""A part of a server that answers nobody: its ranks work for the part on the first node."""

import asyncio
from collections.abc import Callable

from orchestrator.cluster.wire import Job
from orchestrator.engines.base import Site, Watch
from orchestrator.engines.readback import stage
from orchestrator.engines.readiness import death
from orchestrator.engines.vllm import start_server
from orchestrator.ports import port_range

LOOK_S = 0.5


async def serve_part(job: Job, site: Site, watch: Watch, started: Callable[[], None]) -> None:
    """Run the part until told to stop; ServerDied when it ends by itself."""
    with port_range() as ports:
        process = start_server(job.group, site, ports, "moeserve-part")
        started()
        try:
            while not watch.stop.is_set():
                if process.exit_code is not None:
                    raise death(process)
                watch.on_stage(stage(process.log_text()))
                await asyncio.sleep(LOOK_S)
        finally:
            await process.stop()
