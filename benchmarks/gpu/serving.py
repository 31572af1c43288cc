"""A tiny model served by the vLLM that is here, through the whole of `moeserve run`."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from clock import Setting
from table import Table

from orchestrator.engines.vllm.build import found_build

COLUMNS = {
    "gpu_type": "recorded as", "strategy": "layout", "max_concurrency": "concurrency",
    "output_throughput": "tokens/s", "mean_ttft_ms": "mean TTFT ms", "mean_itl_ms": "mean ITL ms",
    "peak_gpu_memory_bytes": "peak GPU bytes", "energy_joules": "J", "verdict": "verdict",
    "verdict_reasons": "because",
}  # fmt: skip


def measure(setting: Setting) -> Iterator[Table]:
    build = found_build()
    title = "tiny-olmoe served by vLLM"
    if build is None:
        yield Table(title, (), notes=("no vLLM here: not measured",))
        return
    if build.for_cpu and setting.device != "cpu":
        yield Table(title, (), notes=(f"{build} is the CPU's build: not measured on the GPU",))
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(sys.executable, "-m", "moeserve", "run", "--engine", "vllm", "-m", "tiny-olmoe"),
            *("-s", "single", "-w", "16:16:8" if setting.small else "128:128:64"),
            *("-c", "1,4" if setting.small else "1,8,32"),
            *("--format", "json", "--quiet", "-o", f"{folder}/out"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 5):
        told = done.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise RuntimeError(f"moeserve run ended with {done.returncode}: {told[0]}")
    rows = tuple(tuple(row.get(key) for key in COLUMNS) for row in json.loads(done.stdout))
    yield Table(f"{title} ({build})", tuple(COLUMNS.values()), rows)
