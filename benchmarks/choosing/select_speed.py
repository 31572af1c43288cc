"""Time `select` on 100,000 rows: reading, and choosing with three objectives and two limits.

python benchmarks/choosing/select_speed.py
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.landscape.answer import answer, parse_ask
from analysis.landscape.objective import parse_objectives
from analysis.landscape.read import read_landscape

ROWS = 100_000


def main() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"method": [f"m{i}" for i in range(ROWS)]}).assign(
        **{name: rng.lognormal(size=ROWS) for name in ("tpot_s", "gpu_memory_mib", "perplexity")}
    )
    ask = parse_ask(
        parse_objectives(["tpot_s", "gpu_memory_mib", "perplexity"], []),
        ["tpot_s <= 2", "gpu_memory_mib <= 2"],
        how=None,
    )
    with tempfile.TemporaryDirectory() as folder:
        for suffix, write in ((".csv", frame.to_csv), (".parquet", frame.to_parquet)):
            path = Path(folder) / f"landscape{suffix}"
            write(path, index=False)
            started = time.perf_counter()
            read = read_landscape(str(path))
            loaded = time.perf_counter()
            found = answer(read, ask)
            chosen = time.perf_counter()
            found.rows()
            ended = time.perf_counter()
            print(f"{suffix}: read {loaded - started:.2f} s, choose {chosen - loaded:.2f} s, "
                  f"all rows {ended - chosen:.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
