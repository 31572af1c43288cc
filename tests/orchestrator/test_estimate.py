"""Estimates of many loads: those that are one are served once, and say the same as apart."""

import pytest

from orchestrator.engine import Callbacks, Measurement
from orchestrator.engines.simulated.engine import SimulatedSession
from orchestrator.estimate import estimates, plan_of
from orchestrator.experiment.cells import Run
from orchestrator.experiment.experiment import Experiment
from orchestrator.results.record import Row
from perfmodel.serving import ServerSettings


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
