"""From simulated servers to a verdict: how often it is wrong, and how often it is right."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.compare import ComparisonSpec, compare
from orchestrator.engine import Callbacks, LaunchContext
from orchestrator.engines.simulated.engine import SimulatedEngine, SimulatedSession
from orchestrator.experiment.cells import Run
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.plan import Plan, make_plan
from orchestrator.results.record import RunRecord
from orchestrator.run.outcome import build_record, identity_of
from orchestrator.table import rows_of
from workloads.transcript import RequestRow

CAMPAIGNS, PAIRS, NOISE = 200, 8, 0.02
ALPHA_ALLOWED, POWER_NEEDED = 0.06, 0.80


def asked(seed: int, noise: float = NOISE) -> Experiment:
    return Experiment(
        models=("OLMoE-1B-7B",),
        strategies=("tp",),
        workloads=("32:16:12",),
        concurrency="4",
        num_runs=PAIRS,
        noise=noise,
        seed=seed,
    )


async def measured(plan: Plan, group: ServerGroup, slower: float) -> RunRecord:
    """Serve a group's one run on its own launch, whose steps take `slower` times as long."""
    (run,) = group.runs
    context = LaunchContext(plan.experiment, plan.models[group.setup.model], Path())
    async with SimulatedEngine().open(group, context, Callbacks()) as session:
        assert isinstance(session, SimulatedSession)
        arm = replace(session, launch=session.launch * slower)
        return await record(plan, group, run, arm)


async def record(plan: Plan, group: ServerGroup, run: Run, session: SimulatedSession) -> RunRecord:
    rows: list[RequestRow] = []
    measurement = await session.measure(run, Callbacks(on_row=rows.append))
    identity = identity_of(
        run, group, session, attempt=1, started_at="", server_group=group.group_id
    )
    return build_record(run, rows, measurement, plan=plan, identity=identity)[0]


async def arm(name: str, seed: int, slower: float = 1.0) -> list[dict[str, object]]:
    plan = make_plan(asked(seed), "simulated")
    rows = []
    for group in plan.groups:
        (row,) = rows_of([await measured(plan, group, slower)])
        rows.append(row | {"strategy": name, "server_group": f"{name}.{row['server_group']}"})
    return rows


def claims(slower: float) -> list[str]:
    """Return the verdict of each campaign of two arms, the second this much slower."""
    found = []
    for campaign in range(CAMPAIGNS):
        rows = asyncio.run(arm("tp", 2 * campaign))
        rows += asyncio.run(arm("ep", 2 * campaign + 1, slower))
        (contrast,) = compare(pd.DataFrame(rows), ComparisonSpec(reference="tp")).contrasts
        assert contrast.pairs == PAIRS
        found.append(contrast.verdict)
    return found


@pytest.mark.slow
def test_of_two_hundred_campaigns_without_an_effect_at_most_six_percent_claim_one() -> None:
    found = claims(1.0)
    assert sum(each in ("better", "worse") for each in found) <= ALPHA_ALLOWED * CAMPAIGNS


@pytest.mark.slow
def test_of_two_hundred_campaigns_with_a_five_percent_effect_four_fifths_find_it() -> None:
    found = claims(1 / 0.95)
    assert "better" not in found
    assert found.count("worse") >= POWER_NEEDED * CAMPAIGNS


def test_noise_is_the_launchs_own_and_the_same_on_every_resume() -> None:
    first, again, other = (asyncio.run(arm("tp", seed)) for seed in (1, 1, 2))
    assert first == again
    throughputs = [row["output_throughput"] for row in first + other]
    assert len(set(throughputs)) == 2 * PAIRS


def test_without_noise_replicates_are_copies() -> None:
    plan = make_plan(asked(1, noise=0.0), "simulated")
    rows = [asyncio.run(measured(plan, group, 1.0)) for group in plan.groups]
    assert len({row.output_throughput for row in rows}) == 1
