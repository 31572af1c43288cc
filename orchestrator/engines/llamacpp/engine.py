"""llama.cpp's server: quantised GGUF files, and experts computed on the host; one device."""

import asyncio
import contextlib
import dataclasses
import functools
import os
import subprocess
from collections.abc import AsyncIterator
from importlib.metadata import version

from catalog.errors import ServerStartFailed
from orchestrator.engine import Callbacks, LaunchContext, Session
from orchestrator.engines.llamacpp.checks import OWN_SERVER, require_server, weights_file
from orchestrator.engines.llamacpp.command import llamacpp_command
from orchestrator.engines.llamacpp.control import Facts, LlamaCppControl
from orchestrator.engines.llamacpp.gguf import read_head
from orchestrator.engines.llamacpp.threads import cores_taken, threads_told
from orchestrator.engines.one_device import OneDeviceServer, environment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.cpu import free_cores

LIST_DEVICES_S = 120.0


class LlamaCppEngine:
    """Starts one llama.cpp server a group, on one GPU or the CPU."""

    @contextlib.asynccontextmanager
    async def open(
        self, group: ServerGroup, context: LaunchContext, callbacks: Callbacks
    ) -> AsyncIterator[Session]:
        base = require_server(context.experiment)
        facts = await asyncio.to_thread(facts_of, group, context, base)
        control = functools.partial(LlamaCppControl, facts=facts)

        def command(port: int, served_name: str) -> list[str]:
            return llamacpp_command(group, context, base=base, port=port, served_name=served_name)

        free = await free_cores()
        async with OneDeviceServer(group, context, command, control=control).serving(
            callbacks
        ) as session:
            # Experts of a server on a GPU may be computed on the host, too.
            threads = threads_told(context.folder / "server.log")
            on_host = facts["device"] == "cpu" or "experts_on_host" in facts
            notes = cores_taken(threads, free) if on_host else ()
            yield dataclasses.replace(session, notes=notes)


def facts_of(group: ServerGroup, context: LaunchContext, base: list[str]) -> Facts:
    """Return what is known of a server before it starts: its device, its file, its package."""
    technique = group.setup.technique
    file = weights_file(technique)
    assert file is not None  # the plan refuses others
    facts: dict[str, str | int | float] = {
        "device": "cpu" if group.setup.hardware == "CPU" else one_device(group, context, base),
        "observed_layout": "single",
        "gguf_bytes": read_head(file).size_bytes,
    }
    knobs = technique.knobs("host-experts")
    if knobs is not None:
        facts["experts_on_host"] = knobs.get("layers", "every layer's")
    if tuple(base) == OWN_SERVER:
        facts["xllamacpp"] = version("xllamacpp")
    return facts


def one_device(group: ServerGroup, context: LaunchContext, base: list[str]) -> str:
    """Ask the server's program which GPU it sees; DEVICE_MAP where that is not just one."""
    try:
        asked = subprocess.run(
            [*base, "--list-devices"],
            env={**os.environ, **environment(group, context)},
            capture_output=True,
            text=True,
            check=False,
            timeout=LIST_DEVICES_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerStartFailed(f"SERVER_MISSING: {base[0]}: {error}", stage="launch") from error
    seen = [line.strip() for line in asked.stdout.splitlines() if line.startswith("  ")]
    if len(seen) != 1:
        found = "; ".join(seen) or "no GPU: this llama.cpp is built for the CPU"
        raise ServerStartFailed(
            f"DEVICE_MAP: {base[0]} sees {found}; it was given one {group.setup.hardware}. Use a "
            "build for it (--server-command), or the CPU with an empty CUDA_VISIBLE_DEVICES",
            stage="launch",
        )
    return seen[0]
