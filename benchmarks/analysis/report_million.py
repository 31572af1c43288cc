"""How long a report of 1,000 runs with 1,000,000 request rows takes, and how much memory.

    python benchmarks/analysis/report_million.py [RUNS [REQUESTS_A_RUN]]

Prints one JSON object; the bounds to hold on two cores are 30 s and 2 GB.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.results.manifests import Manifest, StoredFile
from orchestrator.results.record import RunRecord
from orchestrator.results.rows import SCHEMA
from orchestrator.results.store import Store

STRATEGIES = {"tp": (1.0, 2), "ep": (0.9, 2), "tp+ep": (0.5, 4)}
WORKLOADS = ("decode-heavy", "prefill-heavy", "balanced")
LOADS = (1, 4, 8, 16, 32, 64, 128)
OUTPUT_TOKENS = 32


def record(index: int, requests: int, rng: np.random.Generator) -> RunRecord:
    """One made-up run; throughput has a known shape and some noise."""
    strategy = list(STRATEGIES)[index % 3]
    factor, gpus = STRATEGIES[strategy]
    load = LOADS[index // 9 % 7]
    replicate = index // 63
    tokens = float(100 * factor * load / (1 + load / 40) * np.exp(rng.normal(0, 0.03)))
    itl = 1e3 * load / tokens
    return RunRecord(
        run_id=f"run-{index:05}", cell_id=f"cell-{index % 63}", replicate=replicate, attempt=1,
        block=replicate, started_at="2026-01-01T00:00:00Z", verdict="valid", verdict_reasons="",
        engine="simulated", provenance="simulated", model="OLMoE-1B-7B", strategy=strategy,
        tp=1, dp=1, pp=1, ep=False, num_gpus=gpus, gpu_type="A100-80GB", technique="none",
        workload=WORKLOADS[index // 3 % 3], input_len=128, output_len=OUTPUT_TOKENS,
        num_prompts=requests, max_concurrency=load, completed=requests, failed=0,
        output_throughput=tokens, output_throughput_per_gpu=tokens / gpus, mean_ttft_ms=20 + load,
        mean_tpot_ms=itl, mean_itl_ms=itl, mean_e2el_ms=20 + load + itl * OUTPUT_TOKENS,
        server_group=f"{strategy}.r{replicate}",
    )  # fmt: skip


def rows(run_id: str, requests: int, rng: np.random.Generator) -> pa.Table:
    """Request rows with token times, as a run leaves them."""
    due = np.sort(rng.uniform(0, 60, requests))
    first = due + rng.lognormal(-3, 0.5, requests)
    gaps = rng.lognormal(-4, 0.3, (requests, OUTPUT_TOKENS))
    times = first[:, None] + np.cumsum(gaps, axis=1)
    columns: dict[str, object] = {name: [None] * requests for name in SCHEMA.names}
    columns |= {
        "run_id": [run_id] * requests, "request": range(requests), "due_s": due, "sent_s": due,
        "first_token_s": first, "done_s": times[:, -1], "output_tokens": [OUTPUT_TOKENS] * requests,
        "status": ["ok"] * requests, "error_class": [""] * requests,
        "token_times_s": list(times),
    }  # fmt: skip
    return pa.table(columns, schema=SCHEMA)


def write(root: Path, runs: int, requests: int) -> None:
    rng = np.random.default_rng(0)
    for folder in ("runs", "failed", "attempts", "environments"):
        (root / folder).mkdir(parents=True)
    store = Store(root)
    for index in range(runs):
        made = record(index, requests, rng)
        path = root / "attempts" / f"{made.run_id}.a1" / "requests.parquet"
        path.parent.mkdir()
        pq.write_table(rows(made.run_id, requests, rng), path, compression="zstd")
        file = StoredFile(path=str(path.relative_to(root)), size_bytes=0, sha256="")
        store.publish(Manifest(record=made, files=(file,)))


def main() -> None:
    runs, requests = (int(a) for a in [*sys.argv[1:], "1000", "1000"][:2])
    with tempfile.TemporaryDirectory() as folder:
        root, page = Path(folder) / "out", Path(folder) / "report.html"
        write(root, runs, requests)
        start = time.perf_counter()
        command = [sys.executable, "-m", "moeserve", "report", str(root), "-o", str(page)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        size = page.stat().st_size
    print(
        json.dumps(
            {
                "runs": runs,
                "request_rows": runs * requests,
                "report_s": round(seconds, 2),
                "peak_memory_bytes": peak,
                "page_bytes": size,
            }
        )
    )


if __name__ == "__main__":
    main()
