"""GPUs before, during and after a server: empty, watched, given back; faults seen, not guessed."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import ServerStartFailed
from orchestrator.host import gpu_check as gpucheck
from orchestrator.host.devices import devices
from orchestrator.host.gpu_check import misplaced, occupied, wait_until_free
from orchestrator.host.process import MARKER
from orchestrator.measure.energy import energy_figures
from orchestrator.measure.gpu_samples import GpuSampler
from orchestrator.measure.samples import SampleTable

GIB = 2**30


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpucheck, "FREE_WITHIN_S", 0.1)
    monkeypatch.setattr(gpucheck, "POLL_S", 0.02)


def watched(nvml: Any, *states: dict[str, Any]) -> dict[str, float | None]:
    """Sample GPU 0 once in each state, a second apart, and summarise."""
    samples = SampleTable()
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


@pytest.mark.parametrize(("used", "said"), [(2 * GIB, []), (2 * GIB + 1, ["2.0 GiB of nobody's"])])
def test_an_idle_gpu_may_hold_two_gibibytes(nvml: Any, used: int, said: list[str]) -> None:
    nvml.gpus[1].used_bytes = used
    found = occupied(devices())
    assert len(found) == len(said)
    assert all(words in line for words, line in zip(said, found, strict=True))


def test_this_process_is_nobody_else_and_all_others_are_named(nvml: Any) -> None:
    nvml.gpus[0].pids = [os.getpid()]
    assert occupied(devices()) == []
    nvml.gpus[0].pids = [os.getpid(), 7, 8]
    assert occupied(devices()) == ["GPU 0 is used by process 7, 8"]


async def test_a_gpu_that_becomes_free_in_time_is_waited_for(
    nvml: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.gpus[0].pids = [4711]
    monkeypatch.setattr(gpucheck, "FREE_WITHIN_S", 60.0)
    asked = 0

    def free(_: object) -> list[Any]:
        nonlocal asked
        asked += 1
        return [] if asked > 2 else [type("Process", (), {"pid": 4711})]

    monkeypatch.setattr(sys.modules["pynvml"], "nvmlDeviceGetComputeRunningProcesses", free)
    await wait_until_free(devices()[:1], "GPU_NOT_CLEAN")
    assert asked == 3


def test_each_reading_of_a_gpu_has_its_place_and_unit(nvml: Any) -> None:
    nvml.gpus[1].used_bytes, nvml.gpus[1].power_w, nvml.gpus[1].throttle = 7 * GIB, 61.5, 4
    nvml.gpus[1].ecc, nvml.gpus[1].pids = 3, [1, os.getppid()]
    nvml.xids = [(1, 31), (0, 79)]
    with GpuSampler.open([1]) as gpus:
        (row,) = gpus.sample()
        assert next(iter(gpus.sample()))["xid"] is None, "an error is told of once"
    assert row == {
        "gpu": 1, "xid": 31, "memory_bytes": 7 * GIB, "power_w": 61.5, "sm_clock_mhz": 1001,
        "memory_clock_mhz": 1002, "temperature_c": 40, "throttle_reasons": 4,
        "ecc_uncorrected": 3, "foreign_processes": 2,
    }  # fmt: skip


def test_what_is_ours_on_a_gpu_or_has_ended_is_not_foreign(nvml: Any) -> None:
    code = "import sys; sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    try:
        nvml.gpus[0].pids = [child.pid, 2**22 - 1]
        with GpuSampler.open([0]) as gpus:
            (row,) = gpus.sample()
        assert row["foreign_processes"] == 0
    finally:
        child.communicate()
    with GpuSampler.open([]) as none:
        assert list(none.sample()) == []
