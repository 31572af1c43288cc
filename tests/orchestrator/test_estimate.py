"""Estimates of many loads: those that are one are served once, and say the same as apart."""

import pytest

from catalog.hardware_table import gpu
from catalog.model_table import model
from orchestrator.engine import Callbacks, Measurement
from orchestrator.engines.simulated.engine import SimulatedSession
from orchestrator.estimate import estimates, plan_of
from orchestrator.experiment.cells import Run
from orchestrator.experiment.experiment import Experiment
from orchestrator.results.record import Row
from perfmodel.memory import VLLM, memory
from perfmodel.serving import ServerSettings
from strategies.parse import parse_layout


def rows(workload: str, loads: str) -> list[Row]:
    asked = Experiment(
        models=("OLMoE-1B-7B",), strategies=("tp",), hardware="H100", workloads=(workload,),
        concurrency=loads,
    )  # fmt: skip
    return list(estimates(plan_of(asked), ServerSettings()))


@pytest.mark.parametrize(("workload", "served"), [("32:8:4", 2), ("16-48:8:4", 4)])
def test_loads_of_all_requests_at_once_are_served_once_where_lengths_are_fixed(
    monkeypatch: pytest.MonkeyPatch, workload: str, served: int
) -> None:
    measure, calls = SimulatedSession.measure, list[Run]()

    async def counted(self: SimulatedSession, run: Run, callbacks: Callbacks) -> Measurement:
        calls.append(run)
        return await measure(self, run, callbacks)

    monkeypatch.setattr(SimulatedSession, "measure", counted)
    together = rows(workload, "2,4,8,64")
    assert len(calls) == served
    alone = [row for load in ("2", "4", "8", "64") for row in rows(workload, load)]
    assert together == alone
    assert [row["max_concurrency"] for row in together] == [2, 4, 8, 64]


def test_an_estimate_says_what_the_fullest_gpu_holds_weights_and_cache_at_its_fullest() -> None:
    weights = memory(model("OLMoE-1B-7B"), parse_layout("tp"), gpu("H100")).weight_bytes
    for row in rows("512:64:64", "1,64"):
        held, load = (float(row[name] or 0) for name in ("gpu_memory_bytes", "max_concurrency"))
        assert row["device_memory_bytes"] == weights
        # OLMoE keeps 2 · 16 heads · 128 values of 16 bits in each of 16 layers, halved by tp2.
        tokens = (held - weights - VLLM.reserve_bytes) / (2 * 16 * 128 * 2 * 16 / 2)
        assert load * 512 <= tokens <= load * 600
