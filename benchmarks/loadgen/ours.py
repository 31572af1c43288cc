"""moeserve's client as the benchmark runs it: a process that prints one JSON object."""

import argparse
import json

import msgspec
import numpy as np
import uvloop

from workloads.client.load_run import measure
from workloads.client.selfcheck import client_limited
from workloads.client.worker_pool import WorkersPlan, measure_with_workers
from workloads.figures.metrics import summarise
from workloads.load.dispatch import Dispatcher
from workloads.load.prompts import token_prompts
from workloads.transcript import RequestRow
from workloads.transport.target import Target


async def main(options: argparse.Namespace) -> None:
    rows: list[RequestRow] = []
    target = Target(base_url=options.url, model="ref")
    prompts = token_prompts(
        np.random.default_rng(0), count=options.requests, length=128, vocab=50_000
    )
    if options.workers > 1:
        plan = WorkersPlan(
            output_len=options.output, workers=options.workers, max_concurrency=options.concurrency
        )
        stats = await measure_with_workers(target, prompts, plan=plan, on_row=rows.append)
    else:
        stats = await measure(
            target,
            prompts,
            output_len=options.output,
            dispatcher=Dispatcher(
                options.requests, max_concurrency=options.concurrency, due_s=None
            ),
            on_row=rows.append,
        )
    figures = summarise(rows, max_concurrency=options.concurrency)
    account = {"stats": msgspec.to_builtins(stats), "client_limited": client_limited(stats)}
    print(json.dumps({**figures, **account}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    for name in ("concurrency", "requests", "output"):
        parser.add_argument(name, type=int)
    parser.add_argument("--workers", type=int, default=1)
    uvloop.run(main(parser.parse_args()))
