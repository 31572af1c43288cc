"""GPUs are found as CUDA shows them, or one line says why they cannot be used; never a guess."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from moeserve.doctor import checks
from orchestrator.host import signs
from orchestrator.host.devices import Device, devices, inventory
from orchestrator.host.environment import describe as environment_of_host
from orchestrator.host.gpu_check import misplaced, occupied
from orchestrator.measure.gpu_samples import GpuSampler
from tests.orchestrator.conftest import (
    FakeGpu,
    NvmlError,
    NVMLError_NoPermission,
    NVMLError_NotSupported,
)

GIB = 2**30
SLICE = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
NOT_SUPPORTED = NVMLError_NotSupported("Not Supported")
FORBIDDEN = NVMLError_NoPermission("Insufficient Permissions")
FUNCTIONS = (
    "Init", "Shutdown", "DeviceGetCount", "DeviceGetHandleByIndex", "DeviceGetHandleByUUID",
    "DeviceGetMigMode", "DeviceGetMaxMigDeviceCount", "DeviceGetMigDeviceHandleByIndex",
    "DeviceGetUUID", "DeviceGetName", "DeviceGetMemoryInfo", "DeviceGetComputeRunningProcesses",
)  # fmt: skip
NVIDIA = (Device(0, "GPU-0", "NVIDIA A100-SXM4-40GB", None),)
CUDA = "CUDA_VISIBLE_DEVICES"


@pytest.fixture(autouse=True)
def bare_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No list of devices in the environment, and no sign of any in the file system."""
    for name in (CUDA, "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(signs, "ROOT", tmp_path / "root")
    return tmp_path / "root"


def cut(nvml: Any, *names: str, gpu: int = 0) -> None:
    """Put a GPU in MIG mode with these instances."""
    nvml.gpus[gpu].mig = True
    nvml.gpus[gpu].instances = [
        FakeGpu(i, name=SLICE, total_bytes=5 * GIB, named=name) for i, name in enumerate(names)
    ]


def test_a_mig_instance_is_a_gpu_of_its_own_name(nvml: Any, monkeypatch: Any) -> None:
    cut(nvml, "MIG-aa", "MIG-bb")
    monkeypatch.setenv(CUDA, "MIG-bb,MIG-aa")
    (device,) = devices()
    assert (device.visible_as, device.gpu_type) == ("MIG-bb", SLICE)
    assert device.memory_bytes == 5 * GIB
    monkeypatch.setenv(CUDA, "MIG-cc")
    assert "MIG-cc" in inventory().trouble


def test_an_instance_that_has_its_gpus_name_is_told_from_it(nvml: Any, monkeypatch: Any) -> None:
    cut(nvml, "MIG-aa")
    nvml.gpus[0].instances[0].name = nvml.gpus[0].name
    monkeypatch.setenv(CUDA, "MIG-aa")
    assert devices()[0].gpu_type == "NVIDIA A100-SXM4-40GB MIG of 5120 MiB"
    nvml.gpus[0].instances[0].refuses = {"DeviceGetName": FORBIDDEN}
    assert devices()[0].gpu_type == "NVIDIA A100-SXM4-40GB MIG of 5120 MiB"


def test_an_instance_under_a_gpu_that_lists_none_is_asked_for_by_its_name(
    nvml: Any, monkeypatch: Any
) -> None:
    cut(nvml, "MIG-aa")
    nvml.gpus[0].refuses = {
        "DeviceGetMaxMigDeviceCount": FORBIDDEN,
        "DeviceGetMemoryInfo": FORBIDDEN,
    }
    assert "MIG mode" in inventory().trouble
    monkeypatch.setenv(CUDA, "MIG-aa")
    assert [device.gpu_type for device in devices()] == [SLICE]


@pytest.mark.parametrize("listed", [None, "0"])
def test_a_gpu_in_mig_mode_is_not_taken_for_a_whole_one(
    nvml: Any, monkeypatch: Any, listed: str | None
) -> None:
    nvml.gpus.pop()
    if listed is not None:
        monkeypatch.setenv(CUDA, listed)
    cut(nvml)
    assert "no instance" in inventory().trouble
    cut(nvml, "MIG-aa")
    assert [device.visible_as for device in devices()] == ["MIG-aa"]
    cut(nvml, "MIG-aa", "MIG-bb")
    assert "CUDA_VISIBLE_DEVICES=MIG-…" in inventory().trouble
    assert devices() == ()


def test_beside_a_gpu_in_mig_mode_whole_ones_must_be_named(nvml: Any, monkeypatch: Any) -> None:
    cut(nvml, "MIG-aa")
    assert f"{CUDA}=1" in inventory().trouble
    monkeypatch.setenv(CUDA, "1")
    assert [device.gpu_type for device in devices()] == ["A100-40GB"]


def test_a_gpu_whose_memory_is_not_told_is_known_by_its_name_where_it_cannot_be_a_slice(
    nvml: Any,
) -> None:
    nvml.gpus[0].refuses = {"DeviceGetMemoryInfo": NOT_SUPPORTED}
    nvml.gpus[1].refuses = {"DeviceGetMemoryInfo": NOT_SUPPORTED, "DeviceGetMigMode": NvmlError()}
    known, unsure = devices()
    assert (known.gpu_type, known.memory_bytes) == ("A100-40GB", None)
    assert unsure.gpu_type == "NVIDIA A100-SXM4-40GB"


def test_a_slice_that_a_container_hides_as_one_is_refused(nvml: Any) -> None:
    nvml.gpus[0].refuses = {"DeviceGetMemoryInfo": FORBIDDEN, "DeviceGetMigMode": FORBIDDEN}
    assert "MIG" in inventory().trouble


def test_a_gpu_of_another_job_is_left_out_and_not_counted(nvml: Any, monkeypatch: Any) -> None:
    nvml.gpus[0].refuses = {"DeviceGetHandleByIndex": FORBIDDEN}
    monkeypatch.setenv(CUDA, "0")
    assert [(device.index, device.visible_as) for device in devices()] == [(1, "0")]
    nvml.gpus[1].refuses = {"DeviceGetHandleByIndex": FORBIDDEN}
    assert inventory().trouble == "this process may open none of the 2 GPUs that NVML counts"


@pytest.mark.parametrize("function", ["DeviceGetHandleByIndex", "DeviceGetName"])
def test_a_broken_gpu_is_named_unless_it_is_left_out(
    nvml: Any, monkeypatch: Any, function: str
) -> None:
    nvml.gpus[1].refuses = {function: NvmlError("GPU is lost")}
    assert "GPU 1" in inventory().trouble
    assert "GPU is lost" in inventory().trouble
    monkeypatch.setenv(CUDA, "0")
    assert len(devices()) == 1


@pytest.mark.parametrize("function", ["Init", "DeviceGetCount"])
def test_an_nvml_that_does_not_answer_is_no_missing_gpu(nvml: Any, function: str) -> None:
    nvml.refuses = {function: NvmlError("Driver/library version mismatch")}
    assert "version mismatch" in inventory().trouble
    assert devices() == ()
    with GpuSampler.open([0]) as gpus:
        assert list(gpus.sample()) == [] or function == "DeviceGetCount"


def test_without_a_driver_there_is_no_gpu_unless_the_file_system_shows_one(
    nvml: Any, bare_host: Path
) -> None:
    missing = type("NVMLError_LibraryNotFound", (NvmlError,), {"value": 12})
    nvml.refuses = {"Init": missing("NVML Shared Library Not Found")}
    assert (inventory().absent, inventory().trouble) == ("no GPU here", "")
    (bare_host / "dev").mkdir(parents=True)
    (bare_host / "dev" / "nvidia0").touch()
    assert "Shared Library Not Found" in inventory().trouble


def test_two_kinds_in_another_order_than_nvmls_are_refused(nvml: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    assert len(devices()) == 2
    nvml.gpus[1].name = "NVIDIA T1000"
    assert "PCI_BUS_ID" in inventory().trouble


@pytest.mark.parametrize("listed", ["", "-1", "9", "0,0", "NoDevFiles"])
def test_gpus_that_a_list_hides_are_absent(nvml: Any, monkeypatch: Any, listed: str) -> None:
    monkeypatch.setenv(CUDA, listed)
    assert devices() == ()
    assert inventory().trouble == ""
    assert f"{CUDA}={listed!r}" in inventory().absent


def test_what_a_gpu_refuses_is_absent_from_its_samples(nvml: Any) -> None:
    names = ("DeviceGetMemoryInfo", "DeviceGetClockInfo", "DeviceGetComputeRunningProcesses")
    nvml.gpus[0].refuses = dict.fromkeys(names, FORBIDDEN)
    nvml.gpus[1].refuses = {"DeviceGetHandleByIndex": FORBIDDEN}
    with GpuSampler.open([0, 1]) as gpus:
        (row,) = gpus.sample()
    assert (row["memory_bytes"], row["foreign_processes"], row["power_w"]) == (None, None, 60.0)


@pytest.mark.parametrize("error", [NOT_SUPPORTED, FORBIDDEN, NvmlError("?"), AttributeError("old")])
def test_whatever_a_call_answers_there_is_no_traceback_and_no_unsaid_loss(
    nvml: Any, error: Exception
) -> None:
    cut(nvml, "MIG-aa", gpu=1)
    for mig in (None, True):
        nvml.gpus[1].mig = mig
        for name in FUNCTIONS:
            for of in (nvml, nvml.gpus[0], nvml.gpus[1], nvml.gpus[1].instances[0]):
                of.refuses = {name: error}
                found = inventory()
                assert bool(found.devices) != bool(found.why)
                occupied(found.devices)
                of.refuses = {}
    nvml.refuses = {"DeviceGetHandleByIndex": error, "DeviceGetCount": error}
    assert misplaced(NVIDIA, "none") == ""
    assert environment_of_host()["gpus"] == []
    assert next(checks()).found == inventory().why


class AmdSmiException(Exception):
    pass


@pytest.fixture
def amdsmi(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Two MI300X behind the functions of `amdsmi` that are used, and no NVML."""
    module: Any = ModuleType("amdsmi")
    module.AmdSmiException = AmdSmiException
    module.AmdSmiMemoryType = SimpleNamespace(VRAM=0)
    module.amdsmi_init = module.amdsmi_shut_down = lambda: None
    module.amdsmi_get_processor_handles = lambda: [0, 1]
    module.amdsmi_get_gpu_asic_info = lambda _: {"market_name": "AMD Instinct MI300X"}
    module.amdsmi_get_gpu_memory_total = lambda *_: 205_822_885_888
    module.amdsmi_get_gpu_device_uuid = lambda handle: f"GPU-a{handle}"
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setitem(sys.modules, "amdsmi", module)
    return module


def test_amds_gpus_are_found_and_chosen_by_the_lists_of_rocm(amdsmi: Any, monkeypatch: Any) -> None:
    assert [(each.gpu_type, each.maker) for each in devices()] == [("MI300X", "AMD")] * 2
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0")
    assert [(each.index, each.visible_as) for each in devices()] == [(1, "0")]
    monkeypatch.setenv(CUDA, "1")
    assert "ask for different GPUs" in inventory().trouble


def test_a_partition_of_an_amd_gpu_is_not_the_whole(amdsmi: Any) -> None:
    amdsmi.amdsmi_get_gpu_memory_total = lambda *_: 25_000_000_000
    assert devices()[0].gpu_type == "AMD Instinct MI300X"

    def refuse(*_: object) -> None:
        raise AmdSmiException("not supported")

    amdsmi.amdsmi_get_gpu_memory_total = refuse
    assert (devices()[0].gpu_type, devices()[0].memory_bytes) == ("AMD Instinct MI300X", None)
    amdsmi.amdsmi_get_gpu_asic_info = refuse
    assert "name of GPU 0" in inventory().trouble
    amdsmi.amdsmi_init = refuse
    assert inventory().absent == "no GPU here"


def test_an_amd_gpu_without_amdsmi_is_seen_and_graphics_in_a_processor_are_not(
    monkeypatch: Any, bare_host: Path
) -> None:
    for name in ("pynvml", "amdsmi"):
        monkeypatch.setitem(sys.modules, name, None)
    node = bare_host / "sys/class/kfd/kfd/topology/nodes/1"
    bank = node / "mem_banks/0"
    bank.mkdir(parents=True)
    (node / "properties").write_text("cpu_cores_count 0\nsimd_count 1216\n")
    (bank / "properties").write_text(f"heap_type 1\nsize_in_bytes {512 * 2**20}\n")
    assert inventory().trouble == ""
    (bank / "properties").write_text(f"heap_type 1\nsize_in_bytes {192 * 2**30}\n")
    assert "amdsmi" in inventory().trouble
