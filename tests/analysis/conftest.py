"""Studies built in memory with known effects, and a browser, for every test of the analysis."""

import itertools
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import numpy as np
import pandas as pd
import pytest

from tests.chromium import CHROMIUM, Tab
from tests.machine import until

STRATEGIES = {"tp": (1.0, 2), "ep": (0.9, 2), "tp+ep": (0.45, 4)}
MODELS = {"Mixtral-8x7B": 60.0, "OLMoE-1B-7B": 110.0, "Qwen1.5-MoE-A2.7B": 70.0}
WORKLOADS = {"decode-heavy": (128, 100), "prefill-heavy": (256, 50), "balanced": (512, 20)}
LOADS = (1, 4, 8, 16, 32, 64, 128)

Study = Callable[..., pd.DataFrame]


def build_study(
    replicates: int = 1, *, seed: int = 0, noise: float = 0.03, **columns: Any
) -> pd.DataFrame:
    """The 189 conditions of the parallelism paper with known factors for strategy and model."""
    rng = np.random.default_rng(seed)
    rows = []
    for replicate, (model, base), (strategy, (factor, gpus)) in itertools.product(
        range(replicates), MODELS.items(), STRATEGIES.items()
    ):
        launch = rng.normal(0, noise)
        for (workload, (output, prompts)), load in itertools.product(WORKLOADS.items(), LOADS):
            reached = min(load, prompts)
            tokens = base * factor * reached / (1 + reached / 40)
            tokens *= np.exp(launch + rng.normal(0, noise))
            itl = 1e3 * reached / tokens
            cell = f"{model}.{strategy}.{workload}.{load}"
            rows.append(
                {
                    "run_id": f"{cell}-r{replicate}",
                    "cell_id": cell,
                    "replicate": replicate,
                    "block": replicate,
                    "verdict": "valid",
                    "verdict_reasons": "",
                    "engine": "simulated",
                    "provenance": "simulated",
                    "model": model,
                    "strategy": strategy,
                    "num_gpus": gpus,
                    "gpu_type": "A100-80GB",
                    "workload": workload,
                    "num_prompts": max(prompts, load),
                    "output_len": output,
                    "max_concurrency": load,
                    "output_throughput": tokens,
                    "output_throughput_per_gpu": tokens / gpus,
                    "mean_ttft_ms": 20 * (1 + reached / 16) / factor,
                    "mean_itl_ms": itl,
                    "mean_tpot_ms": itl,
                    "mean_e2el_ms": 20 * (1 + reached / 16) / factor + itl * (output - 1),
                    "server_group": f"{model}.{strategy}.none.r{replicate}",
                }
            )
    return pd.DataFrame(rows).assign(**columns)


def build_small(replicates: int = 1, **options: Any) -> pd.DataFrame:
    """One model under three loads: enough where the number of conditions does not matter."""
    rows = build_study(replicates, **options)
    some = rows["cell_id"].str.startswith("OLMoE") & rows["max_concurrency"].isin([1, 8, 64])
    return rows[some].reset_index(drop=True)


@pytest.fixture(scope="session")
def study() -> Study:
    return build_study


@pytest.fixture(scope="session")
def small() -> Study:
    return build_small


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One Chromium for all tests of the module: where its tabs are asked for."""
    folder = tmp_path_factory.mktemp("profile")
    flags = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
        "--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    silent = subprocess.DEVNULL
    with subprocess.Popen([str(CHROMIUM), *flags], stdout=silent, stderr=silent) as process:
        try:
            port_file = folder / "DevToolsActivePort"
            until(lambda: port_file.exists() and port_file.read_text().count("\n"))
            yield f"http://127.0.0.1:{port_file.read_text().splitlines()[0]}/json"
        finally:
            process.terminate()


@pytest.fixture
async def tab(browser: str) -> AsyncIterator[Tab]:
    """A page of the test's own."""
    async with aiohttp.ClientSession() as session:
        async with session.put(f"{browser}/new?about:blank") as answer:
            target = json.loads(await answer.text())
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                await tab.call(f"{domain}.enable")
            yield tab
        async with session.get(f"{browser}/close/{target['id']}"):
            pass
