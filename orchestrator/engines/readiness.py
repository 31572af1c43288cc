"""Is the server ready? Proved by real streamed completions from every data-parallel rank.

`/health` and `/v1/models` answer 200 on engines that are dead, so they only say when to ask.
"""

import asyncio
import contextlib
import signal
import time

import numpy as np

from catalog.errors import ServerDied, ServerError, ServerStartFailed, ServerStartTimeout
from orchestrator.engines.base import Stopped, Watch
from orchestrator.engines.control import Control
from orchestrator.engines.readback import stage
from orchestrator.failures import classify
from orchestrator.process import ServerProcess
from workloads.client import measure
from workloads.dispatch import Dispatcher
from workloads.prompts import token_prompts
from workloads.server_metrics import parse_metrics
from workloads.target import Target
from workloads.transcript import RequestRow

POLL_S = 0.5
PROBE_LIMIT_S = 300.0
PROBE_INPUT, PROBE_OUTPUT = 16, 4
SHELL_SIGNAL = 128
"""A shell, and our supervisor, exit with this plus the signal that ended a program."""
FINISHED = "vllm:request_success_total"


async def wait_until_listening(
    process: ServerProcess,
    control: Control,
    *,
    served_name: str,
    limit_s: float,
    watch: Watch,
) -> None:
    """Wait for our own server (its model has the name only we know) to answer."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if process.exit_code is not None:
            message = f"the server ended ({_ending(process)}) before it was ready"
            raise start_failure(process, "START_FAILED", message)
        if await control.healthy():
            await _check_ours(process, control, served_name)
            return
        if watch.stop.is_set():
            raise Stopped
        watch.on_stage(stage(process.log_text()))
        await asyncio.sleep(POLL_S)
    raise start_failure(process, "START_TIMEOUT", f"not ready after {limit_s:.0f} s")


async def _check_ours(process: ServerProcess, control: Control, served_name: str) -> None:
    listed = [entry.get("id") for entry in await control.models()]
    if served_name not in listed:
        raise start_failure(
            process, "PORT_CONFLICT", f"another server answers at {control.base_url}: {listed}"
        )


async def prove_ready(target: Target, control: Control, *, ranks: int, vocab: int) -> None:
    """Stream completions until each rank has finished one."""
    deadline = time.monotonic() + PROBE_LIMIT_S
    rng = np.random.default_rng()
    served: set[str] = set()
    while time.monotonic() < deadline:
        await probe(target, rng, count=2 * ranks - 1, vocab=vocab)
        served |= await _ranks_that_finished(control)
        if len(served) >= ranks or ranks == 1:
            return
    missing = sorted({str(rank) for rank in range(ranks)} - served)
    raise ServerStartFailed(
        f"RANK_NOT_READY: data-parallel ranks {', '.join(missing)} served nothing in "
        f"{PROBE_LIMIT_S:.0f} s",
        stage="probe",
    )


async def probe(target: Target, rng: np.random.Generator, *, count: int, vocab: int) -> None:
    """Stream some short completions; ServerStartFailed `NOT_READY` unless all of them end well."""
    rows: list[RequestRow] = []
    await measure(
        target,
        token_prompts(rng, count=count, length=PROBE_INPUT, vocab=vocab),
        output_len=PROBE_OUTPUT,
        dispatcher=Dispatcher(count, max_concurrency=None, due_s=None),
        on_row=rows.append,
    )
    for row in rows:
        if row.status != "ok":
            raise ServerStartFailed(
                f"NOT_READY: a completion of {PROBE_OUTPUT} tokens failed with {row.error_class}: "
                f"{row.error}",
                stage="probe",
            )


async def _ranks_that_finished(control: Control) -> set[str]:
    text = await control.metrics()
    if text is None:
        return set()
    samples = parse_metrics(text).samples(FINISHED)
    return {labels.get("engine", "0") for labels, value in samples if value > 0}


def start_failure(process: ServerProcess, default: str, message: str) -> ServerError:
    """Build the error of a start that failed, with the class its log shows."""
    log = process.log_text()
    code, advice = classify(log, default)
    kind = ServerStartTimeout if default == "START_TIMEOUT" else ServerStartFailed
    return kind(
        f"{code}: {message} (stage: {stage(log)}); {advice}",
        stage=stage(log),
        log_tail=process.log_tail(),
    )


def death(process: ServerProcess) -> ServerDied:
    """Build the error of a server that ended unasked; its exit code says nothing, 0 included."""
    code, advice = classify(process.log_tail(), "ENGINE_DEAD")
    return ServerDied(
        f"{code}: the server ended ({_ending(process)}); {advice}",
        stage="serving",
        log_tail=process.log_tail(),
    )


def _ending(process: ServerProcess) -> str:
    """Tell a signal by its name: a server that was killed has often written nothing."""
    code = process.exit_code or 0
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(code - SHELL_SIGNAL).name}"
    return f"exit code {code}"
