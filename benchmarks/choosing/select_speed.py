"""CPU time of `select` on 100,000 rows: reading, and choosing with three objectives.

python benchmarks/choosing/select_speed.py

Two landscapes: independent columns under two limits, with a front of few rows, and columns that
add up to one, so that every row is on the front.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.landscape.objective import parse_objectives
from analysis.landscape.ranked_landscape import parse_criteria, rank_landscape
from analysis.landscape.read import read_landscape

ROWS = 100_000
NAMES = ("tpot_s", "gpu_memory_mib", "perplexity")
LIMITS = {"independent": ["tpot_s <= 2 s", "gpu_memory_mib <= 2 MiB"], "all on the front": []}


def main() -> None:
    rng = np.random.default_rng(0)
    columns = {
        "independent": rng.lognormal(size=(ROWS, len(NAMES))),
        "all on the front": rng.dirichlet(np.ones(len(NAMES)), size=ROWS),
    }
    with tempfile.TemporaryDirectory() as folder:
        for kind, values in columns.items():
            frame = pd.DataFrame({"method": [f"m{i}" for i in range(ROWS)]})
            frame = frame.assign(**{name: values[:, i] for i, name in enumerate(NAMES)})
            for suffix, write in ((".csv", frame.to_csv), (".parquet", frame.to_parquet)):
                path = Path(folder) / f"landscape{suffix}"
                write(path, index=False)
                print(f"{kind}, {suffix}: {_timed(path, LIMITS[kind])}")


def _timed(path: Path, limits: list[str]) -> str:
    criteria = parse_criteria(parse_objectives(NAMES, []), limits, how=None)
    started = time.process_time()
    read = read_landscape(str(path))
    loaded = time.process_time()
    found = rank_landscape(read, criteria)
    chosen = time.process_time()
    found.rows()
    ended = time.process_time()
    front = int(found.choice.pareto.sum())
    return (
        f"read {loaded - started:.2f} s, choose {chosen - loaded:.2f} s, "
        f"all rows {ended - chosen:.2f} s, {front} on the front"
    )


if __name__ == "__main__":
    main()
