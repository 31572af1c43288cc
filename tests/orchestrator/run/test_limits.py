"""A runner under somebody else's limits, and a plan for GPUs that are elsewhere."""

import asyncio
from pathlib import Path

import pytest

from catalog.errors import Infeasible
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import Pool
from orchestrator.plan import make_plan
from orchestrator.results.manifests import read_manifests
from orchestrator.results.store import Store
from orchestrator.run.limits import RunLimits
from orchestrator.run.runner import Runner

SMALL = Experiment(
    engine="simulated", strategies=("tp", "ep"), workloads=("16:8:6",), concurrency="1,4"
)


def runner(root: Path, limits: RunLimits) -> Runner:
    store = Store(root)
    store.create(SMALL)
    return Runner(
        plan=make_plan(SMALL, "simulated"),
        engine=engine_kind("simulated").build(),
        store=store,
        environment="",
        listen=lambda _: None,
        stop=asyncio.Event(),
        limits=limits,
    )


async def test_a_run_that_may_not_start_stays_missing(tmp_path: Path) -> None:
    limited = runner(tmp_path, RunLimits(may_start=lambda run: run.cell.load.max_concurrency == 4))
    first = [group.runs[0].cell.load.max_concurrency for group in limited.plan.groups]
    await limited.run()
    started = sum(1 for concurrency in first if concurrency == 4)
    assert len(limited.store.finished()) == started
    assert list((tmp_path / "failed").iterdir()) == []


async def test_nothing_is_published_after_the_order_to_end(tmp_path: Path) -> None:
    limited = runner(tmp_path, RunLimits(may_publish=lambda: False))
    await limited.run()
    assert limited.store.finished() == set()
    assert {m.record.verdict for m in read_manifests(tmp_path)} == {"interrupted"}


async def test_of_two_attempts_at_a_run_the_second_is_kept_as_superseded(tmp_path: Path) -> None:
    first, second = runner(tmp_path, RunLimits()), runner(tmp_path, RunLimits())
    group = first.plan.groups[0]

    def other_is_first() -> bool:
        for path in (tmp_path / "copy").glob("*.json"):
            target = tmp_path / "runs" / path.name
            if not target.exists():
                target.write_bytes(path.read_bytes())
        return True

    await first.run()
    (tmp_path / "runs").rename(tmp_path / "copy")
    (tmp_path / "runs").mkdir()
    late = runner(tmp_path, RunLimits(may_publish=other_is_first, details={"slurm": "12_3.r1"}))
    await late.run()
    assert second.store.finished() == {run.run_id for run in first.plan.runs}
    lost = list((tmp_path / "failed").glob("*.json"))
    assert len(lost) >= len(group.runs)
    assert all(b"SUPERSEDED" in path.read_bytes() for path in lost)
    assert all(b"12_3.r1" in path.read_bytes() for path in lost)


def test_a_plan_for_other_machines_does_not_look_at_this_one() -> None:
    real = Experiment(engine="vllm", strategies=("tp",), concurrency="1")
    pool = Pool("A100-40GB", {"A100-40GB": 4})
    plan = make_plan(real, "vllm", pool=pool)
    assert {group.setup.hardware for group in plan.groups} == {"A100-40GB"}
    with pytest.raises(Infeasible, match="needs 8 GPUs, 4 here"):
        make_plan(Experiment(engine="vllm", strategies=("tp8",)), "vllm", pool=pool)
