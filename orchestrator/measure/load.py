"""Sending a run's traffic to a server over HTTP, by one process or by several."""

import secrets
from dataclasses import replace

from orchestrator.engine import Callbacks
from orchestrator.measure.traffic import dispatcher_of
from workloads.client.load_run import measure
from workloads.client.payloads import Answers
from workloads.client.runstats import RunStats
from workloads.client.worker_pool import WorkersPlan, measure_with_workers
from workloads.load.traffic import Traffic
from workloads.transport.target import Target


async def send(target: Target, traffic: Traffic, *, workers: int, callbacks: Callbacks) -> RunStats:
    """Send every request when it is due; the rows say what was asked and what came back.

    Where the server keeps prefixes, they are kept apart from those of other runs: what a run finds
    in the cache it has put there itself.
    """
    if target.takes_cache_salt:
        salted = {**target.extra_body, "cache_salt": secrets.token_hex(8)}
        target = replace(target, extra_body=salted)
    requests = traffic.requests
    natural = requests.natural.tolist() if requests.natural.any() else None
    answers = Answers(requests.output_lens.tolist(), natural)
    if workers == 1:
        return await measure(
            target,
            traffic.prompts,
            output_len=answers,
            dispatcher=dispatcher_of(traffic),
            on_row=callbacks.on_row,
            on_progress=callbacks.on_progress,
            stop=callbacks.stop,
        )
    plan = WorkersPlan(
        output_len=answers,
        workers=workers,
        max_concurrency=traffic.max_concurrency,
        due_s=None if traffic.due_s is None else traffic.due_s.tolist(),
        turns=requests.turns,
    )
    return await measure_with_workers(
        target,
        traffic.prompts,
        plan=plan,
        on_row=callbacks.on_row,
        on_progress=callbacks.on_progress,
        stop=callbacks.stop,
    )
