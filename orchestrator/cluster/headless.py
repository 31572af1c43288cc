"""A headless node of a vLLM server: its ranks work for the HTTP server on the first node."""

import asyncio
from collections.abc import Callable

from orchestrator.cluster.messages import LaunchRequest
from orchestrator.engine import Callbacks, LaunchContext
from orchestrator.engines.vllm.engine import start_server
from orchestrator.host.ports import port_range
from orchestrator.measure.readiness import server_died
from orchestrator.measure.server_log import stage

POLL_S = 0.5


async def serve_headless(
    request: LaunchRequest,
    context: LaunchContext,
    callbacks: Callbacks,
    started: Callable[[], None],
) -> None:
    """Run the node's ranks until `watch.stop`; ServerDied when they end by themselves."""
    with port_range() as ports:
        process = start_server(request.group, context, ports, "moeserve-part")
        started()
        try:
            while not callbacks.stop.is_set():
                if process.exit_code is not None:
                    raise server_died(process)
                callbacks.on_stage(stage(process.log_text()))
                await asyncio.sleep(POLL_S)
        finally:
            await process.stop()
