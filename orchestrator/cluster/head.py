"""A Ray cluster of our own on this host: loopback only, with a token of its own, gone with us."""

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from catalog.errors import ClusterError
from catalog.python import python_module
from orchestrator.cluster.access import QUIET_ENV, ClusterAccess, check_installed
from orchestrator.host.ports import port_range
from orchestrator.host.process import ServerProcess

START_S = 90.0
GRACE_S = 5.0
STORE_BYTES = 200_000_000
"""Only request rows travel through it."""
READY_LINE = "Ray runtime started"
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Ray binds loopback alone where it takes no cluster of several hosts to be meant."""


@contextlib.asynccontextmanager
async def started_head() -> AsyncIterator[ClusterAccess]:
    """Start Ray under our supervisor, and end it with everything it started."""
    check_installed()
    # Sockets of Ray lie under it: their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="moeserve-ray-"))
    try:
        with port_range() as ports:
            token = folder / "token"
            _write_private(token, secrets.token_hex(32))
            variables = {
                **QUIET_ENV,
                **LOOPBACK,
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN_PATH": str(token),
            }
            process = ServerProcess(
                _command(ports, folder), log=folder / "log", env=variables, grace_s=GRACE_S
            )
            try:
                await _until_up(process)
                yield ClusterAccess(f"127.0.0.1:{ports.start}", variables, ())
            finally:
                await process.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _command(ports: range, folder: Path) -> list[str]:
    first = ports.start
    return [
        *(*python_module("ray.scripts.scripts", "-W", "ignore"), "start", "--head"),
        *("--block", "--disable-usage-stats", "--include-dashboard=false", "--no-monitor"),
        *("--include-log-monitor=false", "--node-ip-address=127.0.0.1", f"--port={first}"),
        *(f"--ray-client-server-port={first + 1}", f"--temp-dir={folder / 'ray'}"),
        *("--min-worker-port=0", "--max-worker-port=0"),
        f"--object-store-memory={STORE_BYTES}",
    ]


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


async def _until_up(process: ServerProcess) -> None:
    deadline = time.monotonic() + START_S
    while READY_LINE not in process.log_text():
        if process.exit_code is not None or time.monotonic() > deadline:
            lines = process.log_tail().strip().splitlines()
            raise ClusterError(f"RAY_START: Ray did not start here: {lines[-1] if lines else ''}")
        await asyncio.sleep(0.2)
