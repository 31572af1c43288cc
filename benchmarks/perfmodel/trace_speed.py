"""How long a Mooncake-style trace takes from its file to its rows, in virtual time.

python benchmarks/perfmodel/trace_speed.py [REQUESTS]

Written first, in the shape of Mooncake's conversations (arXiv 2407.00079, table 2: 12,035 tokens
in, 343 out): sessions whose later turns begin with the earlier ones, in blocks of 512 tokens.
"""

import asyncio
import cProfile
import json
import os
import pstats
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows

BLOCK, LONGEST, OUTPUT, RATE_PER_S = 512, 38_000, 343, 4.0
PREFIX_CACHING, NO_PREFIX_CACHING = "--enable-prefix-caching", "--no-enable-prefix-caching"
LAYOUTS = ("tp8", "dp8+ep")
WITHIN_S = 30.0


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.jsonl"
        write(trace, count)
        for layout in LAYOUTS:
            for caching in (False, True):
                replay(trace, count, layout, Path(folder) / f"{layout}-{caching}", caching=caching)


def replay(trace: Path, count: int, layout: str, root: Path, *, caching: bool) -> None:
    experiment = Experiment(
        models=("Qwen3-30B-A3B",),
        engine="simulated",
        hardware="H200",
        strategies=(layout,),
        workloads=(f"trace:{trace}",),
        request_rates=(RATE_PER_S,),
        num_runs=1,
        server=ServerOptions(args=(PREFIX_CACHING if caching else NO_PREFIX_CACHING,)),
    )
    start, before = time.perf_counter(), time.process_time()
    asyncio.run(run_whole(experiment, root))
    took_s, cpu_s = time.perf_counter() - start, time.process_time() - before
    (row,) = run_rows(root)
    queries, hits = (row.get(f"server_prefix_cache_{name}") for name in ("queries", "hits"))
    share = f"{hits / queries:.1%} found in the prefix cache" if queries else "no prefix cache"
    print(
        f"{took_s:7.2f} s {cpu_s:7.2f} CPU s  {count:,} requests over {row['duration']:,.0f} s as "
        f"{layout}, {share}: {'under' if took_s < WITHIN_S else 'OVER'} {WITHIN_S:g} s"
    )


async def run_whole(experiment: Experiment, root: Path) -> None:
    await run_study(await prepare(experiment), root, listen=lambda _: None)


def write(path: Path, count: int) -> None:
    """Write `count` turns of conversations of up to eight, each turn a block or more longer."""
    rng = np.random.default_rng(0)
    when_s, lines, fresh = 0.0, [], iter(range(10**9))
    system = [next(fresh) for _ in range(2)]
    sessions: list[list[int]] = []
    for _ in range(count):
        when_s += rng.exponential(1 / RATE_PER_S)
        if not sessions or rng.random() < 1 / 4:
            sessions.append(list(system))
        held = sessions[rng.integers(max(0, len(sessions) - 200), len(sessions))]
        held += [next(fresh) for _ in range(int(rng.geometric(1 / 8)))]
        held = held[: LONGEST // BLOCK]
        length = (len(held) - 1) * BLOCK + int(rng.integers(1, BLOCK + 1))
        output = int(min(2000, 1 + rng.exponential(OUTPUT)))
        asked = {"timestamp": int(when_s * 1e3), "input_length": length, "output_length": output}
        lines.append(json.dumps({**asked, "hash_ids": held}))
    path.write_text("\n".join(lines) + "\n")
    lengths = [json.loads(line)["input_length"] for line in lines]
    print(f"{count:,} requests, {np.mean(lengths):,.0f} tokens in, {OUTPUT} out in the mean")


if __name__ == "__main__":
    asked = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    if os.environ.get("PROFILE"):
        profile = cProfile.Profile()
        profile.runcall(main, asked)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    else:
        main(asked)
