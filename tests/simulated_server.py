"""The simulated server as one that already runs, for tests that measure it by its address."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from orchestrator.host.ports import port_range
from orchestrator.host.process import ServerProcess
from orchestrator.measure.control import Control
from tests.machine import limit


@contextlib.asynccontextmanager
async def simulated(tmp_path: Path, *arguments: str) -> AsyncIterator[str]:
    """Start it on a free port; its URL, once it is healthy."""
    with port_range() as ports:
        command = [sys.executable, "-m", "servers.simulated", "--model", "OLMoE-1B-7B"]
        process = ServerProcess(
            [*command, "--port", str(ports.start), "--hardware", "H100", *arguments],
            log=tmp_path / "server.log",
            env={},
        )
        url = f"http://127.0.0.1:{ports.start}"
        try:
            async with Control(url) as control, asyncio.timeout(limit(60)):
                while not await control.healthy():
                    assert process.exit_code is None, process.log_tail()
                    await asyncio.sleep(0.1)
            yield url
        finally:
            await process.stop()
