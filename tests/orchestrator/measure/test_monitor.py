"""The monitor: what it keeps of a run, and the two ways in which it ends one that can only wait."""

import asyncio
import sys
from pathlib import Path
from typing import cast

import pyarrow.parquet as pq
import pytest

from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.measure.control import Control
from orchestrator.measure.energy import energy_joules, price_figures
from orchestrator.measure.metric_names import in_vllm_names
from orchestrator.measure.monitor import ServerMonitor
from orchestrator.measure.samples import SampleTable
from orchestrator.results.manifests import read_manifests
from orchestrator.run.events import GroupFailed, RunEvent
from orchestrator.study import prepare, run_study
from orchestrator.verify import verify_directory
from tests.machine import limit
from workloads.figures.server_metrics import parse_metrics

SIMULATED = (sys.executable, "-m", "servers.simulated")


def experiment(*faults: str) -> Experiment:
    arguments = tuple(word for fault in faults for word in ("--fault", fault))
    options = ServerOptions(command=SIMULATED, args=("--hardware", "H100", *arguments))
    return Experiment(
        engine="vllm",
        strategies=("ep",),
        workloads=("16:64:6",),
        concurrency="2",
        num_warmups=0,
        retries=0,
        server=options,
    )


async def do(root: Path, asked: Experiment) -> list[str]:
    events: list[RunEvent] = []
    await run_study(await prepare(asked), root, listen=events.append)
    return [event.error for event in events if isinstance(event, GroupFailed)]


@pytest.mark.slow
async def test_counters_by_rank_and_the_process_tree_are_published_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.measure.monitor.PERIOD_S", 0.1)
    assert await do(tmp_path, experiment("slow-factor=3")) == []
    (manifest,) = read_manifests(tmp_path)
    names = {Path(file.path).name for file in manifest.files}
    assert names == {"requests.parquet", "server.parquet", "host.parquet"}
    folder = (tmp_path / manifest.files[0].path).parent
    server = pq.read_table(folder / "server.parquet").to_pydict()
    assert set(server["rank"]) == {"0", "1"}
    assert max(server["running"]) >= 1
    assert server["t_s"] == sorted(server["t_s"])
    host = pq.read_table(folder / "host.parquet").to_pydict()
    assert min(host["processes"]) >= 1
    assert min(host["resident_bytes"]) > 10_000_000
    assert verify_directory(tmp_path) == []


SGLANG = """
sglang:num_running_reqs 1
sglang:generation_tokens_total 5
sglang:inter_token_latency_seconds_count {tokens}
"""


@pytest.mark.parametrize(("tokens_a_step", "stalled"), [(10, False), (0, True)])
async def test_a_server_that_counts_an_answer_when_it_ends_is_not_stalled_while_it_makes_tokens(
    tokens_a_step: int, stalled: bool
) -> None:
    monitor = ServerMonitor(cast("Control", None), asyncio.Event(), alive=lambda: None)
    for step in range(10):
        text = in_vllm_names(SGLANG.format(tokens=step * tokens_a_step))
        monitor._check_for_stall(parse_metrics(text), 30.0 * step)
    assert (monitor.failure is not None) == stalled


async def test_a_server_that_counts_no_tokens_is_never_called_stalled() -> None:
    monitor = ServerMonitor(cast("Control", None), asyncio.Event(), alive=lambda: None)
    for step in range(10):
        monitor._check_for_stall(parse_metrics("vllm:num_requests_running 1"), 30.0 * step)
    assert monitor.failure is None


@pytest.mark.slow
async def test_a_server_that_hangs_is_found_out_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.measure.http_session.STALL_S", 1.0)
    monkeypatch.setattr("orchestrator.measure.monitor.PERIOD_S", 0.2)
    monkeypatch.setattr("workloads.client.load_run.DRAIN_S", 0.5)
    # The probes take 3 x 4 tokens; the rest is of the run.
    (told,) = await asyncio.wait_for(do(tmp_path, experiment("hang-after-tokens=60")), limit(60))
    assert told.startswith("ENGINE_STALLED")
    (manifest,) = read_manifests(tmp_path)
    assert manifest.record.verdict_reasons == "ENGINE_STALLED"
    rows = list((tmp_path / "attempts").rglob("requests.jsonl"))
    assert rows, "the rows so far are kept"


@pytest.mark.slow
async def test_a_server_that_dies_in_a_run_ends_it_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.measure.monitor.PERIOD_S", 0.1)
    (told,) = await asyncio.wait_for(do(tmp_path, experiment("die-after-tokens=60")), limit(60))
    assert told.startswith("ENGINE_DEAD")


def powers(*points: tuple[int, float, float | None]) -> SampleTable:
    samples = SampleTable()
    for gpu, time_s, power_w in points:
        samples.add(gpu=gpu, t_s=time_s, power_w=power_w)
    return samples


def test_energy_is_the_integral_of_power_over_all_gpus() -> None:
    two = powers((0, 0.0, 100.0), (1, 0.0, 50.0), (0, 2.0, 300.0), (1, 2.0, 50.0))
    assert energy_joules(two) == pytest.approx(400 + 100)


def test_no_energy_is_claimed_without_samples_or_across_a_gap() -> None:
    assert energy_joules(SampleTable()) is None
    assert energy_joules(powers((0, 0.0, 100.0))) is None
    assert energy_joules(powers((0, 0.0, 100.0), (0, 10.0, 100.0))) is None
    assert energy_joules(powers((0, 0.0, None), (0, 1.0, None))) is None


def test_the_price_of_a_million_tokens_follows_from_gpus_hours_and_throughput() -> None:
    # 2 GPUs at 3.60 $/h are 0.002 $/s; 1000 tokens a second make a million in 1000 s.
    figures = price_figures({"output_throughput": 1000.0}, 2, 3.6)
    assert figures["usd_per_million_output_tokens"] == pytest.approx(2.0)
    assert price_figures({"output_throughput": None}, 2, 3.6) == {}
    assert price_figures({"output_throughput": 1000.0}, 2, None) == {}
