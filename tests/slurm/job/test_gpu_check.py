"""GPUs are looked at on their node before a server is started on them."""

import asyncio
from pathlib import Path

import pytest

from catalog.errors import ServerStartFailed
from orchestrator.engine import Callbacks, LaunchContext
from orchestrator.engines.simulated.engine import SimulatedEngine
from orchestrator.host.devices import Device
from slurm.job.gpu_check import GpuCheckedEngine, gpu_mismatch
from slurm.submit.options import merge_options
from slurm.submit.plan_elsewhere import remote_plan
from tests.slurm.studies import small


def test_gpus_that_are_not_the_ones_asked_for_are_named() -> None:
    site = merge_options({"gpus": {"H100": {"per_node": 8}}})
    plan, _ = asyncio.run(remote_plan(small(engine="vllm", strategies=("tp",)), site))
    (group,) = plan.groups
    h100 = [Device(i, f"u{i}", "NVIDIA H100 80GB HBM3", 85_520_809_984) for i in range(2)]
    a100 = [Device(i, f"u{i}", "NVIDIA A100-SXM4-40GB", 42_505_273_344) for i in range(2)]
    assert gpu_mismatch(group, h100) == ""
    assert "needs 2 GPUs, NVML shows 1" in gpu_mismatch(group, h100[:1])
    assert "asks for H100, here are A100-40GB" in gpu_mismatch(group, a100)


async def test_a_server_is_not_started_on_the_wrong_gpus(tmp_path: Path) -> None:
    plan, _ = await remote_plan(
        small(engine="vllm", strategies=("tp",)), merge_options({"hardware": "H100"})
    )
    (group,) = plan.groups
    context = LaunchContext(plan.experiment, plan.models[group.setup.model], tmp_path)
    with pytest.raises(ServerStartFailed, match="WRONG_GPU"):
        async with GpuCheckedEngine(SimulatedEngine(), ()).open(group, context, Callbacks()):
            pytest.fail("started")
