"""Is a server the same by its address as under an engine? Run me with Python, from anywhere.

Runs of `--engine`, which starts the server anew each time, and of `--endpoint`, against one that
`moeserve serve` has started with the same options, take turns, first one and then the other ahead.
Prints the ratio of the medians of TTFT and E2E, endpoint over engine: the mean of its logarithm
over the pairs with Student's 95 % interval, and the pairs' median with the exact one. Real
llama.cpp needs xllamacpp, gguf and transformers; `simulated` is this project's server over HTTP.
"""

import argparse
import asyncio
import importlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from orchestrator.experiment.experiment import Experiment, ServerOptions  # noqa: E402
from orchestrator.study import prepare, run_study  # noqa: E402
from orchestrator.table import run_rows  # noqa: E402

FIGURES = ("median_ttft_ms", "median_e2el_ms")
START_S = 120.0
LLAMACPP = "orchestrator.engines.llamacpp.server"
ONE_THREAD = ("--threads", "1")
"""More would wait for each other on a machine that others use too."""


def gguf(folder: Path) -> Path:
    """Write the tiny Mixtral as a GGUF file."""
    from servers.tiny_checkpoint import checkpoint

    tests = importlib.import_module("tests.orchestrator.engines.llamacpp.conftest")
    written: Path = tests.write_mixtral(
        checkpoint("tiny-mixtral"), folder / "f32.gguf", quantised=False
    )
    return written


def experiment(server: str, file: Path | None, workload: str, concurrency: int) -> Experiment:
    """The runs under an engine."""
    common: dict[str, Any] = {
        "workloads": (workload,),
        "concurrency": str(concurrency),
        "strategies": ("single",),
    }
    if server == "llamacpp":
        options = ServerOptions(args=ONE_THREAD)
        return Experiment(
            engine="llamacpp",
            models=("tiny-mixtral",),
            techniques=(f"gguf:{file}",),
            server=options,
            **common,
        )
    options = ServerOptions(command=(sys.executable, "-m", "servers.simulated"))
    return Experiment(engine="vllm", models=("OLMoE-1B-7B",), server=options, **common)


def by_address(url: str, workload: str, concurrency: int) -> Experiment:
    return Experiment(endpoint=url, workloads=(workload,), concurrency=str(concurrency))


def measured(asked: Experiment) -> dict[str, Any]:
    async def run(root: Path) -> dict[str, Any]:
        await run_study(await prepare(asked), root, listen=lambda _: None)
        (row,) = run_rows(root)
        if not row["completed"] or row["failed"]:
            sys.exit(f"not measured: {row['error']} {row['verdict_reasons']}")
        return dict(row)

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(run(Path(folder) / "out"))


@contextmanager
def serving(server: str, file: Path | None, slots: int) -> Iterator[str]:
    """Start what the engine starts, by hand; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    slot = ("--parallel", str(slots), "--ctx-size", str(512 * slots))
    none = ("--device", "none", "--no-cache-prompt", "--cache-ram", "0", "--metrics", "--no-webui")
    words = {
        "llamacpp": [LLAMACPP, "--model", str(file), *slot, *none, *ONE_THREAD],
        "simulated": ["servers.simulated", "--model", "OLMoE-1B-7B"],
    }[server]
    command = [sys.executable, "-m", *words, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + START_S
        while not healthy(url):
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"did not start: {' '.join(command)}")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(START_S)


def healthy(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url + "/health", timeout=5):
        return True
    return False


def told(figure: str, ratios: Sequence[float]) -> str:
    logs = np.log(ratios)
    spread = logs.std(ddof=1) / len(logs) ** 0.5
    half = stats.t.ppf(0.975, len(logs) - 1) * spread
    mean, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    rank = int(stats.binom.ppf(0.025, len(ratios), 0.5))
    ordered = sorted(ratios)
    middle = statistics.median(ratios)
    exact = f"[{ordered[max(rank - 1, 0)]:.3f}, {ordered[-max(rank, 1)]:.3f}]"
    return (
        f"{figure}: {mean:.3f} [{low:.3f}, {high:.3f}], median {middle:.3f} {exact}, "
        f"{len(ratios)} pairs"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--server", choices=("llamacpp", "simulated"), default="llamacpp")
    parser.add_argument("--workload", default="256:16:40")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=12)
    options = parser.parse_args()
    load = (options.workload, options.concurrency)
    ratios: dict[str, list[float]] = {name: [] for name in FIGURES}
    with tempfile.TemporaryDirectory() as folder:
        file = gguf(Path(folder)) if options.server == "llamacpp" else None
        with serving(options.server, file, options.concurrency) as url:
            arms = [by_address(url, *load), experiment(options.server, file, *load)]
            for pair in range(options.pairs):
                order = (0, 1) if pair % 2 else (1, 0)
                rows = {arm: measured(arms[arm]) for arm in order}
                for name in FIGURES:
                    ratios[name].append(rows[0][name] / rows[1][name])
                shown = ", ".join(f"{rows[arm][FIGURES[0]]:.2f}" for arm in (0, 1))
                print(f"pair {pair + 1}: TTFT {shown} ms by endpoint, by engine", flush=True)
    for name in FIGURES:
        print(told(name, ratios[name]))


if __name__ == "__main__":
    main()
