"""Is the server ready? Proved by real streamed completions from every data-parallel rank.

`/health` and `/v1/models` answer 200 on engines that are dead, so they only say when to ask.
"""

import asyncio
import contextlib
import signal
import time

import numpy as np

from catalog.errors import ServerDied, ServerError, ServerStartFailed, ServerStartTimeout
from orchestrator.engine import Callbacks, Stopped
from orchestrator.host.process import ServerProcess
from orchestrator.measure.control import Control
from orchestrator.measure.failures import classify, diagnose
from orchestrator.measure.server_log import stage
from workloads.client.load_run import measure
from workloads.client.payloads import Prompts
from workloads.figures.server_metrics import parse_metrics
from workloads.load.dispatch import Dispatcher
from workloads.load.text_prompts import TextPrompts, prompts_for
from workloads.transcript import RequestRow
from workloads.transport.target import Target

POLL_S = 0.5
PROBE_LIMIT_S = 300.0
LAST_WORDS_S = 5.0
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
    callbacks: Callbacks,
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
        if callbacks.stop.is_set():
            raise Stopped
        callbacks.on_stage(stage(process.log_text()))
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


async def prove_own_ready(
    process: ServerProcess, target: Target, control: Control, *, ranks: int, vocab: int
) -> None:
    """`prove_ready` of a server that was started here: one that breaks says why in its log."""
    try:
        await prove_ready(target, control, ranks=ranks, vocab=vocab)
    except ServerStartFailed as error:
        await _until_ended(process)
        failure = diagnose(process.whole_log())
        if failure is None:
            raise
        raise ServerStartFailed(
            f"{failure.code}: {error} (the server {_state(process)}); {failure.advice}",
            stage="probe",
            log_tail=process.log_tail(),
            lasting=failure.lasting is True,
        ) from error


async def _until_ended(process: ServerProcess) -> None:
    """Give a server that breaks the time to write why."""
    deadline = time.monotonic() + LAST_WORDS_S
    while process.exit_code is None and time.monotonic() < deadline:  # noqa: ASYNC110 (a process)
        await asyncio.sleep(POLL_S)


def _state(process: ServerProcess) -> str:
    return "runs" if process.exit_code is None else f"ended: {_ending(process)}"


async def probe(
    target: Target,
    rng: np.random.Generator,
    *,
    count: int,
    vocab: int,
    texts: TextPrompts | None = None,
) -> None:
    """Stream some short completions; ServerStartFailed `NOT_READY` unless all of them end well."""
    for row in await probed(target, prompts_for(rng, count, PROBE_INPUT, vocab, texts)):
        if row.status != "ok":
            raise ServerStartFailed(
                f"NOT_READY: a completion of {PROBE_OUTPUT} tokens failed with {row.error_class}: "
                f"{row.error}",
                stage="probe",
            )


async def probed(target: Target, prompts: Prompts) -> list[RequestRow]:
    """Stream one short completion a prompt, all at once; return how each went."""
    rows: list[RequestRow] = []
    await measure(
        target,
        prompts,
        output_len=PROBE_OUTPUT,
        dispatcher=Dispatcher(len(prompts), max_concurrency=None, due_s=None),
        on_row=rows.append,
    )
    return rows


async def _ranks_that_finished(control: Control) -> set[str]:
    text = await control.metrics()
    if text is None:
        return set()
    samples = parse_metrics(text).samples(FINISHED)
    return {labels.get("engine", "0") for labels, value in samples if value > 0}


def start_failure(process: ServerProcess, default: str, message: str) -> ServerError:
    """Build the error of a start that failed, with the class its log shows."""
    log = process.whole_log()
    failure = classify(log, default)
    kind = ServerStartTimeout if default == "START_TIMEOUT" else ServerStartFailed
    return kind(
        f"{failure.code}: {message} (stage: {stage(log)}); {failure.advice}",
        stage=stage(log),
        log_tail=process.log_tail(),
        lasting=failure.lasting is True,
    )


def server_died(process: ServerProcess) -> ServerDied:
    """Build the error of a server that ended unasked; its exit code says nothing, 0 included."""
    failure = classify(process.whole_log(), "ENGINE_DEAD")
    return ServerDied(
        f"{failure.code}: the server ended ({_ending(process)}); {failure.advice}",
        stage="serving",
        log_tail=process.log_tail(),
        lasting=failure.lasting is True,
    )


def _ending(process: ServerProcess) -> str:
    """Tell a signal by its name: a server that was killed has often written nothing."""
    code = process.exit_code or 0
    with contextlib.suppress(ValueError):
        return f"killed by {signal.Signals(code - SHELL_SIGNAL).name}"
    return f"exit code {code}"
