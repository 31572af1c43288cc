"""Is a server the same by its address as under an engine? Run me with Python, from anywhere.

In each block an engine starts its server, as `--engine` does, and a pair of measurements warms it
up. That one process is then measured in pairs, through the engine's own session and as `--endpoint`
measures it, first the one and then the other ahead; so neither two processes of one server nor the
machine's mood is taken for a difference of the two. Prints the medians of TTFT and E2E and their
ratio, endpoint over engine: the mean of its logarithm over the pairs with Student's 95 % interval,
and the pairs' median with the exact one. Real vLLM needs vLLM for the CPU, real llama.cpp
xllamacpp, gguf and transformers; `simulated` is this project's server over HTTP. With `--into FILE`
pairs are kept as they come, and a series that was broken off goes on.
"""

import argparse
import asyncio
import dataclasses
import importlib
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from orchestrator.engine import Callbacks, LaunchContext, Session  # noqa: E402
from orchestrator.engines.registry import engine_kind  # noqa: E402
from orchestrator.experiment.cells import Run  # noqa: E402
from orchestrator.experiment.experiment import Experiment, ServerOptions  # noqa: E402
from orchestrator.measure.http_session import HttpBacked  # noqa: E402
from orchestrator.study import prepare  # noqa: E402
from workloads.figures.summary import figures_of  # noqa: E402
from workloads.transcript import RequestRow  # noqa: E402

FIGURES = {"median_ttft_ms": "TTFT", "median_e2el_ms": "E2E"}
ARMS = ("engine", "endpoint")
LEAST_EXACT = 6
"""Pairs: of fewer not even the least and the most are an interval of 95 %."""
ONE_THREAD = ("--threads", "1")
"""More would wait for each other on a machine that others use too."""


@dataclass(frozen=True, slots=True)
class Load:
    """What every measurement of a series is asked for."""

    server: str
    workload: str
    concurrency: int

    def experiment(self, **server: Any) -> Experiment:
        load = {"workloads": (self.workload,), "concurrency": str(self.concurrency)}
        return Experiment(**server, **load)  # type: ignore[arg-type]


def gguf(folder: Path) -> Path:
    """Write the tiny Mixtral as a GGUF file."""
    from servers.tiny_checkpoint import checkpoint

    tests = importlib.import_module("tests.orchestrator.engines.llamacpp.conftest")
    written: Path = tests.write_mixtral(
        checkpoint("tiny-mixtral"), folder / "f32.gguf", quantised=False
    )
    return written


def under_engine(load: Load, folder: Path) -> Experiment:
    if load.server == "vllm":
        return load.experiment(engine="vllm", models=("tiny-olmoe",), strategies=("single",))
    if load.server == "simulated":
        options = ServerOptions(command=(sys.executable, "-m", "servers.simulated"))
        return load.experiment(
            engine="vllm", models=("OLMoE-1B-7B",), strategies=("single",), server=options
        )
    return load.experiment(
        engine="llamacpp",
        models=("tiny-mixtral",),
        strategies=("single",),
        techniques=(f"gguf:{gguf(folder)}",),
        server=ServerOptions(args=ONE_THREAD),
    )


async def opened(
    asked: Experiment, folder: Path
) -> tuple[AbstractAsyncContextManager[Session], Run]:
    """Return the session that a run of an experiment would have, not yet entered, and its run."""
    study = await prepare(asked)
    (group,) = study.plan.groups
    gpus = tuple(device.visible_as for device in study.devices) or None
    context = LaunchContext(asked, study.plan.models[group.setup.model], folder, gpus)
    engine = engine_kind(study.engine).build()
    return engine.open(group, context, Callbacks()), group.runs[0]


async def measured(session: Session, run: Run, replicate: int) -> dict[str, Any]:
    """Measure once; each replicate has prompts of its own. Ends the program where any failed."""
    rows: list[RequestRow] = []
    told = await session.measure(
        dataclasses.replace(run, replicate=replicate), Callbacks(on_row=rows.append)
    )
    failed = [row.error for row in rows if row.status != "ok"]
    if failed or not rows:
        sys.exit(f"not measured: {len(failed)} of {len(rows)} requests failed: {failed[:1]}")
    figures = figures_of(rows, goodput={}, max_concurrency=run.cell.load.max_concurrency)
    return {name: figures[name] for name in FIGURES} | {"reasons": list(told.reasons)}


async def block(load: Load, first: int, count: int, keep: Callable[[dict[str, Any]], None]) -> None:
    """Start a server and measure it in pairs number `first` and on, after one that warms it up."""
    with tempfile.TemporaryDirectory() as folder:
        entering, run = await opened(under_engine(load, Path(folder)), Path(folder))
        async with entering as session:
            if not isinstance(session, HttpBacked):
                sys.exit(f"{load.server} is not served over HTTP")
            asked = load.experiment(endpoint=session.http.target.base_url)

            async def by_engine(number: int) -> dict[str, Any]:
                return await measured(session, run, number)

            async def by_endpoint(number: int) -> dict[str, Any]:
                entering, same = await opened(asked, Path(folder))
                async with entering as other:
                    return await measured(other, same, number)

            arms = dict(zip(ARMS, (by_engine, by_endpoint), strict=True))
            for number in (first + count, *range(first, first + count)):
                order = ARMS if number % 2 else ARMS[::-1]
                pair = {arm: await arms[arm](number) for arm in order}
                if number < first + count:
                    keep({"load": asdict(load), **pair})


def table(pairs: Sequence[dict[str, Any]]) -> str:
    """Return a line a figure: medians over the pairs in ms, and the ratio by two estimators."""
    lines = [
        "| figure | by engine, ms | by endpoint, ms | pairs "
        "| mean of the logarithms, Student's 95 % | median, exact 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for name, short in FIGURES.items():
        medians = [statistics.median(pair[arm][name] for pair in pairs) for arm in ARMS]
        ratios = [pair["endpoint"][name] / pair["engine"][name] for pair in pairs]
        shown = " | ".join(f"{each:.2f}" for each in medians)
        lines.append(f"| {short} | {shown} | {len(pairs)} | {student(ratios)} | {exact(ratios)} |")
    return "\n".join(lines)


def student(ratios: Sequence[float]) -> str:
    logs = np.log(ratios)
    if len(logs) < 2:
        return f"{ratios[0]:.3f}, no interval of one pair"
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    mean, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])
    return f"{mean:.3f} ({low:.3f} to {high:.3f})"


def exact(ratios: Sequence[float]) -> str:
    middle = statistics.median(ratios)
    if len(ratios) < LEAST_EXACT:
        return f"{middle:.3f}, no interval below {LEAST_EXACT} pairs"
    ordered, rank = sorted(ratios), int(stats.binom.ppf(0.025, len(ratios), 0.5))
    return f"{middle:.3f} ({ordered[rank - 1]:.3f} to {ordered[-rank]:.3f})"


def kept(path: Path | None, load: Load) -> list[dict[str, Any]]:
    """Read the pairs that a series has so far; its load must be this one."""
    if path is None or not path.exists():
        return []
    pairs = [json.loads(line) for line in path.read_text().splitlines()]
    for pair in pairs:
        if pair["load"] != asdict(load):
            sys.exit(f"{path}: its pairs are of {pair['load']}, not of {asdict(load)}")
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--server", choices=("llamacpp", "simulated", "vllm"), default="llamacpp")
    parser.add_argument("--workload", default="256:16:40")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=12, help="of the whole series")
    parser.add_argument("--block", type=int, default=6, help="pairs on one start of the server")
    parser.add_argument("--into", type=Path, metavar="FILE", help="keep pairs; go on with its own")
    options = parser.parse_args()
    load = Load(options.server, options.workload, options.concurrency)
    pairs = kept(options.into, load)

    def keep(pair: dict[str, Any]) -> None:
        pairs.append(pair)
        if options.into:
            with options.into.open("a") as lines:
                lines.write(json.dumps(pair) + "\n")
        shown = ", ".join(f"{pair[arm]['median_ttft_ms']:.2f} by {arm}" for arm in ARMS)
        noted = sorted({told.split(":")[0] for arm in ARMS for told in pair[arm]["reasons"]})
        print(f"pair {len(pairs)} of {options.pairs}: TTFT in ms {shown}", *noted, flush=True)

    while len(pairs) < options.pairs:
        count = min(options.block, options.pairs - len(pairs))
        asyncio.run(block(load, len(pairs), count, keep))
    print(table(pairs))


if __name__ == "__main__":
    main()
