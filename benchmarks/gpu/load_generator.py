"""The load generator's own figures on this host: `benchmarks/loadgen` without its peers."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from clock import Setting
from table import Table

SCRIPT = Path(__file__).parents[1] / "loadgen"
STREAMS, FEW = ("32", "128", "512"), ("8",)
FIGURES = {
    "ttft_error_ms": "TTFT error ms",
    "itl_error_percent": "ITL error %",
    "p99_itl_ms": "p99 ITL ms",
    "true_p99_itl_ms": "(true)",
    "cpu_us_per_token": "CPU µs a token",
    "output_throughput": "tokens/s",
}


def measure(setting: Setting) -> Iterator[Table]:
    for streams in FEW if setting.small else STREAMS:
        rounds = "1" if setting.small else "3"
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "results.jsonl"
            command = [sys.executable, str(SCRIPT), "--no-peers", "--streams", streams,
                       "--rounds", rounds, "--json", str(out)]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode or not out.exists():
                told = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
                raise RuntimeError(f"benchmarks/loadgen ended with {done.returncode}: {told[-1]}")
            (line,) = out.read_text().splitlines()
        yield _table(streams, json.loads(line)["results"])


def _table(streams: str, results: dict[str, list[dict[str, Any]]]) -> Table:
    rows = tuple(
        (client, *(_median(found, key) for key in FIGURES), len(found))
        for client, found in results.items()
    )
    title = f"Load generator, {streams} streams, medians"
    return Table(title, ("client", *FIGURES.values(), "rounds"), rows)


def _median(found: list[dict[str, Any]], key: str) -> float | None:
    values = [float(each[key]) for each in found if each.get(key) is not None]
    return median(values) if values else None
