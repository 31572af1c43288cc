"""How long the statistics of 10,000 runs take, and how much memory: whole processes.

    python benchmarks/analysis/ten_thousand_runs.py [REPLICATES [MODELS]]

3 strategies × 8 loads × 139 replicates × 3 models by default, each replicate on launches of its
own: 10,008 runs, 1,251 launches. Prints one JSON object a command: seconds of wall and CPU, bytes
at the peak. The bounds to hold on two cores are 10 s and 1 GB.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

STRATEGIES = {"tp": (1.0, 2), "ep": (0.9, 2), "tp+ep": (0.5, 4)}
LOADS = (1, 2, 4, 8, 16, 32, 64, 128)
COMMANDS = (("anova",), ("anova", "--interactions", "--log"), ("compare",), ("tables",))


def study(replicates: int, models: int) -> pd.DataFrame:
    """Throughputs of a known shape with the luck of each launch and noise of each run."""
    rng = np.random.default_rng(0)
    shape = (models, len(STRATEGIES), replicates, len(LOADS))
    model, strategy, replicate, load = np.indices(shape).reshape(4, -1)
    factor, gpus = (np.array(each)[strategy] for each in zip(*STRATEGIES.values(), strict=True))
    asked = np.array(LOADS)[load]
    logs = rng.normal(0, 0.03, shape[:3])[model, strategy, replicate] + rng.normal(
        0, 0.03, len(load)
    )
    tokens = 60 * (1 + model) * factor * asked / (1 + asked / 40) * np.exp(logs)
    names = np.array(list(STRATEGIES))[strategy]
    launches = zip(model, names, replicate, strict=True)
    return pd.DataFrame(
        {
            "run_id": np.arange(len(load)), "replicate": replicate, "block": replicate,
            "verdict": "valid", "provenance": "measured", "engine": "vllm",
            "model": [f"model-{m}" for m in model], "strategy": names, "num_gpus": gpus,
            "gpu_type": "A100-80GB", "workload": "decode-heavy", "num_prompts": 200,
            "max_concurrency": asked, "output_throughput": tokens,
            "output_throughput_per_gpu": tokens / gpus,
            "server_group": [".".join(map(str, each)) for each in launches],
        }
    )  # fmt: skip


def timed(command: tuple[str, ...], table: Path) -> dict[str, object]:
    start = time.perf_counter()
    whole = [sys.executable, "-m", "moeserve", *command, str(table), "--format", "csv"]
    child = subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    used = os.wait4(child.pid, 0)[2]
    return {
        "command": " ".join(command),
        "wall_s": round(time.perf_counter() - start, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_bytes": used.ru_maxrss * 1024,
    }


def main() -> None:
    replicates = int(sys.argv[1]) if len(sys.argv) > 1 else 139
    models = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "study.csv"
        study(replicates, models).to_csv(table, index=False)
        for command in COMMANDS:
            print(json.dumps(timed(command, table)), flush=True)


if __name__ == "__main__":
    main()
