"""A thousand nodes on one shared file system: how many calls a second, and where that breaks.

    python benchmarks/scale/simulate.py [--nodes 1000] [--runs 1000000] ...

Every node takes one task after the other from the queue: a task starts Python and moeserve (a burst
of look-ups), its server loads for `--start` seconds, then its runs follow each other. The file
system answers `--capacity` calls a second, in the order they come; what it cannot answer waits, and
the tasks with it. Numbers of calls are those that calls.py counts.
Prints one JSON object.
"""

import argparse
import heapq
import json
from dataclasses import asdict, dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is simulated; times in seconds, calls of the file system."""

    nodes: int
    runs: int
    runs_a_task: int
    run_s: float
    start_s: float
    calls_a_run: float
    calls_a_task: float
    calls_an_import: float
    listings: float
    """Of all published runs of its store, by a task; each is as many calls as it takes."""
    names_a_call: float
    stores: int
    """Results directories that the runs are spread over."""
    capacity: float
    at_once: int
    """Tasks that the queue starts a second."""


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it."""

    hours: float
    mean_calls_a_second: float
    peak_calls_a_second: float
    """Wanted in the busiest second."""
    longest_wait_s: float
    """Of a call, behind those before it."""
    lost_share: float
    """Of the nodes' time, waiting for the file system."""


def simulate(cluster: Cluster, seed: int = 0) -> Load:
    """Take all tasks through."""
    rng = np.random.default_rng(seed)
    tasks = -(-cluster.runs // cluster.runs_a_task)
    # When a node asks next, and what for: 0 is a task's start, n the end of its run n.
    events = [(each / cluster.at_once, 0) for each in range(min(cluster.nodes, tasks))]
    heapq.heapify(events)
    wanted: dict[int, float] = {}
    answered_until = total = waited = longest = end = 0.0

    def ask(now: float, calls: float) -> float:
        """Return when these calls are answered, behind all that came before."""
        nonlocal answered_until, total, waited, longest
        wanted[int(now)] = wanted.get(int(now), 0.0) + calls
        total += calls
        behind = max(0.0, answered_until - now)
        answered_until = max(answered_until, now) + calls / cluster.capacity
        longest, waited = max(longest, behind), waited + answered_until - now
        return answered_until

    left, published = tasks, 0
    while events:
        now, number = heapq.heappop(events)
        if number == 0:
            if not left:
                continue
            left -= 1
            listed = cluster.listings * published / cluster.stores / cluster.names_a_call
            ready = ask(now, cluster.calls_an_import + cluster.calls_a_task + listed)
            ready += cluster.start_s * rng.uniform(0.8, 1.2)
        else:
            ready = end = ask(now, cluster.calls_a_run)
            published += 1
        last = number == cluster.runs_a_task
        after = ready if last else ready + cluster.run_s * rng.uniform(0.8, 1.2)
        heapq.heappush(events, (after, 0 if last else number + 1))
    return Load(
        hours=round(end / 3600, 2),
        mean_calls_a_second=round(total / end, 1),
        peak_calls_a_second=round(max(wanted.values()), 1),
        longest_wait_s=round(longest, 2),
        lost_share=round(waited / (end * cluster.nodes), 4),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--runs-a-task", type=int, default=20)
    parser.add_argument("--run", dest="run_s", type=float, default=60.0)
    parser.add_argument("--start", dest="start_s", type=float, default=180.0)
    parser.add_argument("--calls-a-run", type=float, required=True)
    parser.add_argument("--calls-a-task", type=float, required=True)
    parser.add_argument("--calls-an-import", type=float, required=True, help="0: node-local Python")
    parser.add_argument("--listings", type=float, required=True)
    parser.add_argument("--names-a-call", type=float, default=650.0)
    parser.add_argument("--stores", type=int, default=1)
    parser.add_argument("--capacity", type=float, default=10_000.0)
    parser.add_argument("--at-once", type=int, default=100)
    cluster = Cluster(**vars(parser.parse_args()))
    print(json.dumps({**asdict(cluster), **asdict(simulate(cluster))}))


if __name__ == "__main__":
    main()
