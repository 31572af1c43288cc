"""How long the analytic model takes, in seconds of CPU beside those of the clock.

python benchmarks/perfmodel/speed.py
"""

import os
import time
from collections.abc import Callable

from catalog.hardware_table import gpu
from catalog.model_table import model
from orchestrator.estimate import estimates, plan_of
from orchestrator.experiment.experiment import Experiment
from perfmodel.a100_study import simulate_cells, study_cells
from perfmodel.autotune import Goal, search
from perfmodel.closed_loop import ClosedLoop
from perfmodel.serving import ServerSettings, server
from perfmodel.simulate import simulate
from strategies.parse import parse_layout

MODELS = (
    "Mixtral-8x7B", "Qwen1.5-MoE-A2.7B", "OLMoE-1B-7B", "Qwen3-30B-A3B", "Qwen3-235B-A22B",
    "DeepSeek-V3", "gpt-oss-20b", "gpt-oss-120b", "DeepSeek-V2-Lite",
)  # fmt: skip
LAYOUTS = ("tp8", "tp8+ep", "tp2+dp4+ep", "dp8+ep")


def main() -> None:
    timed("estimates of nine models in four layouts, 21 cells each, all cores", many_estimates)
    timed("189 cells of the A100 study", lambda: simulate_cells(study_cells()))
    for gpus in (64, 1024):
        goal = Goal(context=32768)
        timed(
            f"partitions of DeepSeek-V3 on {gpus} GPUs",
            lambda gpus=gpus, goal=goal: search(model("DeepSeek-V3"), gpu("H200"), gpus, goal=goal),
        )
    timed("1000 requests of 512:512 at concurrency 256, dp8+ep", many_requests)


def many_estimates() -> None:
    asked = Experiment(models=MODELS, strategies=LAYOUTS, hardware="B200")
    for _ in estimates(plan_of(asked), ServerSettings()):
        pass


def many_requests() -> None:
    built = server(model("Qwen3-30B-A3B"), parse_layout("dp8+ep"), gpu("H100"), longest=1024)
    simulate(ClosedLoop(1000, 256), [(512, 512)] * 1000, built.step_model, limits=built.limits)


def timed(what: str, do: Callable[[], object]) -> None:
    start, before = time.perf_counter(), _cpu_s()
    do()
    print(f"{time.perf_counter() - start:8.3f} s {_cpu_s() - before:8.3f} CPU s  {what}")


def _cpu_s() -> float:
    """Of this process and of those it started and waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


if __name__ == "__main__":
    main()
