"""The 189 cells of the A100 parallelism study in virtual time.

"Parallelism Strategies and Concurrency Effects for Mixture-of-Experts Inference on GPU Systems",
tables I to III: three models, three strategies, three workloads, seven concurrencies. The
study's sweep replays the same prompts on one server, and its time to first token is below what
computing them takes, so the prefix cache is taken as warm.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import A100_VLLM, Constants
from perfmodel.reference import table
from perfmodel.serving import ServerSettings, server
from perfmodel.simulate import Simulated, simulate
from strategies.parse import parse_layout

MODELS = ("Mixtral-8x7B", "OLMoE-1B-7B", "Qwen1.5-MoE-A2.7B")
HARDWARE = {"tp": "A100-80GB", "ep": "A100-80GB", "tp+ep": "A100-40GB"}
CONCURRENCIES = (1, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class StudyCell:
    """One benchmark configuration, by the study's names."""

    model: str
    strategy: str
    workload: str
    concurrency: int


def workloads() -> dict[str, tuple[int, int, int]]:
    """Input tokens, output tokens and prompts of table III."""
    return {
        row["workload"]: (int(row["input_tokens"]), int(row["output_tokens"]), int(row["prompts"]))
        for row in table("parallelism_workloads")
    }


def study_cells() -> tuple[StudyCell, ...]:
    return tuple(
        StudyCell(*levels) for levels in product(MODELS, HARDWARE, workloads(), CONCURRENCIES)
    )


def simulate_cells(
    cells: Iterable[StudyCell], *, constants: Constants = A100_VLLM, prefix_cached: bool = True
) -> dict[StudyCell, float]:
    """Return each cell's output throughput in tokens a second."""
    setup = ServerSettings(constants=constants, prefix_cached=prefix_cached)
    return {cell: throughput(simulate_cell(cell, setup)) for cell in cells}


def simulate_cell(cell: StudyCell, setup: ServerSettings) -> Simulated:
    prompt, output, count = workloads()[cell.workload]
    built = server(
        model(cell.model),
        parse_layout(cell.strategy),
        gpu(HARDWARE[cell.strategy]),
        longest=prompt + output,
        setup=setup,
    )
    loop = ClosedLoop(count, cell.concurrency)
    return simulate(loop, [(prompt, output)] * count, built.step_model, limits=built.limits)


def throughput(result: Simulated) -> float:
    return sum(map(len, result.token_times_s)) / float(result.done_s.max() - result.sent_s.min())
