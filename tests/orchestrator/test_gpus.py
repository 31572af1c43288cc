"""GPUs before, during and after a server: empty, watched, given back; faults seen, not guessed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import ServerStartFailed
from orchestrator import gpucheck
from orchestrator.devices import devices
from orchestrator.energy import energy_figures
from orchestrator.gpucheck import misplaced, occupied, wait_until_free
from orchestrator.gpusamples import GpuSampler
from orchestrator.process import MARKER
from orchestrator.samples import Samples

GIB = 2**30


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpucheck, "FREE_WITHIN_S", 0.1)
    monkeypatch.setattr(gpucheck, "POLL_S", 0.02)


def watched(nvml: Any, *states: dict[str, Any]) -> dict[str, float | None]:
    """Sample GPU 0 once in each state, a second apart, and summarise."""
    samples = Samples()
    with GpuSampler.open([0]) as gpus:
        for second, state in enumerate(states):
            for name, value in state.items():
                setattr(nvml.gpus[0], name, value)
            for row in gpus.sample():
                samples.add(t_s=float(second), **row)
    return energy_figures(samples, 10)


def test_gpus_are_named_as_in_the_catalog_and_filtered_as_cuda_does(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [device.gpu_type for device in devices()] == ["A100-40GB", "A100-40GB"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [device.index for device in devices()] == [1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-0")
    assert [device.index for device in devices()] == [0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices() == ()


async def test_a_server_waits_for_empty_gpus_and_then_says_who_is_on_them(nvml: Any) -> None:
    await wait_until_free(devices(), "GPU_NOT_CLEAN")
    nvml.gpus[1].pids = [4711]
    with pytest.raises(ServerStartFailed, match=r"^GPU_NOT_CLEAN: GPU 1 is used by process 4711"):
        await wait_until_free(devices(), "GPU_NOT_CLEAN")
    await wait_until_free(devices()[:1], "GPU_NOT_CLEAN")


async def test_memory_that_nobody_owns_after_a_server_is_an_orphans(nvml: Any) -> None:
    nvml.gpus[0].used_bytes = 30 * GIB
    with pytest.raises(ServerStartFailed, match=r"^ORPHAN_STUCK: GPU 0 holds 30\.0 GiB"):
        await wait_until_free(devices(), "ORPHAN_STUCK")
    assert occupied(()) == []


def test_a_server_on_other_gpus_than_given_is_found_out(nvml: Any, tmp_path: Path) -> None:
    code = "import sys; sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, env={**os.environ, MARKER: "abc"}
    )
    try:
        nvml.gpus[0].pids = [child.pid]
        assert misplaced(devices()[:1], "abc") == ""
        told = misplaced(devices()[1:], "abc")
        assert told == "the server was given GPUs [1] and computes on [0]"
        assert misplaced(devices()[1:], "other") == ""
    finally:
        child.communicate()


def test_power_memory_and_tokens_become_energy_per_token(nvml: Any) -> None:
    states = ({"power_w": 100.0}, {"power_w": 300.0, "used_bytes": 7 * GIB}, {"used_bytes": GIB})
    figures = watched(nvml, *states)
    assert figures["energy_joules"] == pytest.approx(200 + 300)
    assert figures["joules_per_output_token"] == pytest.approx(50)
    assert figures["peak_gpu_memory_bytes"] == 7 * GIB


def test_what_a_gpu_cannot_tell_is_absent_not_zero(nvml: Any) -> None:
    figures = watched(nvml, {"power_w": None}, {})
    assert figures["energy_joules"] is None
    assert figures["gpu_xid"] is None


def test_throttling_foreign_processes_and_faults_are_counted(nvml: Any) -> None:
    nvml.xids = [(1, 13), (0, 79)]
    figures = watched(
        nvml, {"ecc": 5}, {"throttle": 0x40, "pids": [1]}, {"throttle": 0x4, "pids": [], "ecc": 7}
    )
    assert figures["gpu_samples"] == 3
    assert figures["gpu_throttled_samples"] == 1
    assert figures["gpu_power_capped_samples"] == 1
    assert figures["gpu_foreign_processes"] == 1
    assert figures["gpu_xid"] == 79
    assert figures["gpu_ecc_errors"] == 2


def test_without_nvml_there_are_no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with GpuSampler.open([0]) as gpus:
        assert list(gpus.sample()) == []
    assert devices() == ()
