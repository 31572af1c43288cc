"""How long the analytic model takes on one core.

python benchmarks/perfmodel/speed.py
"""

import time
from collections.abc import Callable

from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.a100_study import simulate_cells, study_cells
from perfmodel.autotune import Goal, search
from perfmodel.closed_loop import ClosedLoop
from perfmodel.serving import server
from perfmodel.simulate import simulate
from strategies.parse import parse_layout


def main() -> None:
    timed("189 cells of the A100 study", lambda: simulate_cells(study_cells()))
    for gpus in (64, 1024):
        goal = Goal(context=32768)
        timed(
            f"partitions of DeepSeek-V3 on {gpus} GPUs",
            lambda gpus=gpus, goal=goal: search(model("DeepSeek-V3"), gpu("H200"), gpus, goal=goal),
        )
    timed("1000 requests of 512:512 at concurrency 256, dp8+ep", many_requests)


def many_requests() -> None:
    built = server(model("Qwen3-30B-A3B"), parse_layout("dp8+ep"), gpu("H100"), longest=1024)
    simulate(ClosedLoop(1000, 256), [(512, 512)] * 1000, built.step_model, limits=built.limits)


def timed(what: str, do: Callable[[], object]) -> None:
    start = time.perf_counter()
    do()
    print(f"{time.perf_counter() - start:8.3f} s  {what}")


if __name__ == "__main__":
    main()
