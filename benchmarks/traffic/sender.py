"""How late the sender is in an open loop, by form of traffic, where a server answers at once.

    python benchmarks/traffic/sender.py [--rate 2000] [--seconds 10] [--workers 1]

One row a form. It wants two quiet cores: one for the sender, one for the server.
"""

import argparse
import asyncio
import sys
from asyncio.subprocess import PIPE
from dataclasses import replace

import numpy as np
import uvloop

from catalog.python import python_module
from orchestrator.engine import Callbacks
from orchestrator.measure.load import send
from workloads.client.nullserver import MODEL
from workloads.load.arrivals import due_times
from workloads.load.draw import draw
from workloads.load.profiles import parse_workload
from workloads.load.rate_curve import parse_curve
from workloads.load.traffic import Traffic
from workloads.transcript import RequestRow
from workloads.transport.target import Target

FORMS = {
    "one length": ("350:8:auto", ""),
    "uniform": ("100-600:4-12:auto", ""),
    "lognormal": ("350~0.7:8~0.5:auto", ""),
    "prefixes": ("150:8:auto,prefix=200x8", ""),
    "turns": ("100:8:auto,turns=4,think=0.2", ""),
    "mix": ("a=100:4@0.7+b=900:16@0.3", ""),
    "steps": ("350:8:auto", "steps:0.5x2,1.5x2"),
}
"""A workload, and how its rate changes."""


def traffic_of(text: str, curve: str, rate: float, seconds: float) -> Traffic:
    """Draw a form's traffic for a run of about so many seconds."""
    rng = np.random.default_rng(0)
    requests = draw(parse_workload(text), rng, int(rate * seconds))
    first = requests.turn == 0
    count = int(first.sum())
    shape = parse_curve(curve) if curve else None
    due_s = np.full(len(requests), np.nan)
    # Turns come on top: their conversations begin so seldom that all requests are `rate` a second.
    first_rate = rate * count / len(requests)
    due_s[first] = due_times(rng, count, rate_per_s=first_rate, curve=shape)
    traffic = Traffic(requests=requests, due_s=due_s)
    return replace(traffic, prompts=requests.prompts(rng, 50_000))


async def main(options: argparse.Namespace) -> None:
    print(f"{'form':12} {'requests/s':>10} {'lag p50':>9} {'p99':>9} {'max':>9} {'busy':>6}  (ms)")
    for name, (text, curve) in FORMS.items():
        command = python_module("workloads.client.nullserver")
        server = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        rows: list[RequestRow] = []
        traffic = traffic_of(text, curve, options.rate, options.seconds)
        target = Target(base_url=f"http://127.0.0.1:{port}", model=MODEL)
        callbacks = Callbacks(on_row=rows.append)
        stats = await send(target, traffic, workers=options.workers, callbacks=callbacks)
        server.kill()
        await server.wait()
        lag_ms = [(row.sent_s - row.due_s) * 1e3 for row in rows if row.sent_s is not None]
        p50, p99 = np.percentile(lag_ms, [50, 99])
        rate = len(rows) / stats.duration_s
        failed = sum(row.status != "ok" for row in rows)
        print(
            f"{name:12} {rate:10.0f} {p50:9.3f} {p99:9.3f} {max(lag_ms):9.3f} "
            f"{stats.busy_share:6.0%}" + (f"  {failed} failed" if failed else "")
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=2000.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=1)
    sys.exit(uvloop.run(main(parser.parse_args())))
