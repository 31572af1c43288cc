"""NVIDIA's GPUs as NVML tells them: each of its calls may fail, and none ends in a traceback.

What a driver, a container or an old binding does not tell is None, a GPU that it does not let this
process open is left out, and one that cannot be named carries the reason.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from catalog.errors import install_line
from catalog.units import MIB
from orchestrator.host.part import MIG, Device, Part

# Errors by their number in nvml.h (nvmlReturn_t) and by the name that the binding gives them.
NOT_SUPPORTED, NO_PERMISSION = (3, "NotSupported"), (4, "NoPermission")
DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND = (9, "DriverNotLoaded"), (12, "LibraryNotFound")
FUNCTION_NOT_FOUND = (13, "FunctionNotFound")
LEAVE_OUT = "CUDA_VISIBLE_DEVICES can leave it out"


@dataclass(frozen=True, slots=True)
class Nvml:
    """NVML, started."""

    module: ModuleType

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What a call may raise: an old binding lacks functions, and answers are decoded in it."""
        return (_own_error(self.module), AttributeError, OSError, TypeError, ValueError)

    def call(self, name: str, *arguments: Any) -> Any:
        """Call one of NVML's functions, by its name without `nvml`; raises one of `errors`."""
        return getattr(self.module, f"nvml{name}")(*arguments)

    def ask(self, name: str, *arguments: Any) -> Any:
        """The same, with None where it cannot tell."""
        try:
            return self.call(name, *arguments)
        except self.errors:
            return None

    def constant(self, name: str) -> Any:
        """Return one of NVML's constants; None where the binding has none of that name."""
        return getattr(self.module, name, None)


@dataclass(frozen=True, slots=True)
class NvmlAnswer:
    """The GPUs of this host, and why there are none where NVML did not answer."""

    parts: tuple[Part, ...] = ()
    named: tuple[Device, ...] = ()
    """MIG instances that were asked for by name and stand under no GPU that NVML lists."""
    silent: str = ""
    """Why NVML does not answer."""
    broken: bool = False
    """Whether that means that something is wrong, rather than that there is no such GPU."""


@contextlib.contextmanager
def started() -> Iterator[Nvml | None]:
    """Start NVML for a block; None where that cannot be done."""
    module, _, _ = _start()
    try:
        yield Nvml(module) if module else None
    finally:
        _stop(module)


def look(mig_names: Sequence[str] = ()) -> NvmlAnswer:
    """Ask NVML for every GPU of this host that the process may open, in PCI order."""
    module, silent, broken = _start()
    if module is None:
        return NvmlAnswer(silent=silent, broken=broken)
    nvml = Nvml(module)
    try:
        count = int(nvml.call("DeviceGetCount"))
    except nvml.errors as error:
        return NvmlAnswer(silent=f"NVML does not count its GPUs: {error}", broken=True)
    else:
        parts = tuple(_parts(nvml, count))
        named = tuple(_by_name(nvml, parts, mig_names))
        if count and not (parts or named):
            told = f"this process may open none of the {count} GPUs that NVML counts"
            return NvmlAnswer(silent=told, broken=True)
        return NvmlAnswer(parts, named)
    finally:
        _stop(module)


def _start() -> tuple[ModuleType | None, str, bool]:
    """Return NVML, or why it does not answer and whether that is a fault."""
    try:
        import pynvml
    except ImportError:
        return None, f"NVML's Python binding is not installed: {install_line('gpu')}", False
    try:
        pynvml.nvmlInit()
    except (_own_error(pynvml), AttributeError, OSError) as error:
        return (
            None,
            f"NVML does not start: {error}",
            not _is(error, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND),
        )
    module: ModuleType = pynvml
    return module, "", False


def _stop(module: ModuleType | None) -> None:
    if module is not None:
        with contextlib.suppress(_own_error(module), AttributeError):
            module.nvmlShutdown()


def _own_error(module: ModuleType) -> type[Exception]:
    """Return what the binding raises; another module of its name may know no such thing."""
    found: type[Exception] = getattr(module, "NVMLError", OSError)
    return found


def _is(error: Exception, *kinds: tuple[int, str]) -> bool:
    """Return whether an error is of these kinds, by its number or its class's name."""
    number, name = getattr(error, "value", None), type(error).__name__
    return any(number == value or name == f"NVMLError_{kind}" for value, kind in kinds)


def _parts(nvml: Nvml, count: int) -> Iterator[Part]:
    """Yield the GPUs; CUDA's numbers count those that may be opened (a job's own, in a cgroup)."""
    ordinal = 0
    for index in range(count):
        try:
            handle = nvml.call("DeviceGetHandleByIndex", index)
        except nvml.errors as error:
            if _is(error, NO_PERMISSION):
                continue
            problem = f"NVML says of GPU {index}: {error}; {LEAVE_OUT}"
            yield Part(_unknown(index, ordinal), problem=problem)
        else:
            yield _part(nvml, handle, index, ordinal)
        ordinal += 1


def _part(nvml: Nvml, handle: Any, index: int, ordinal: int) -> Part:
    cut = _mig_mode(nvml, handle)
    try:
        name = _text(nvml.call("DeviceGetName", handle))
    except nvml.errors as error:
        problem = f"NVML does not tell the name of GPU {index}: {error}; {LEAVE_OUT}"
        return Part(_unknown(index, ordinal), cut=bool(cut), problem=problem)
    device = Device(
        index=index,
        uuid=_uuid(nvml, handle),
        name=name,
        memory_bytes=_memory_bytes(nvml, handle),
        ordinal=ordinal,
        whole=cut is False,
    )
    if cut is None and device.memory_bytes is None and _memory_is_forbidden(nvml, handle):
        return Part(
            device,
            problem=f"NVML may tell neither memory nor MIG mode of GPU {index} here, as where a "
            "container is given a MIG instance: CUDA_VISIBLE_DEVICES=MIG-… names it",
        )
    return Part(device, bool(cut), tuple(_instances(nvml, handle, index)) if cut else ())


def _unknown(index: int, ordinal: int) -> Device:
    return Device(index, "", "NVIDIA GPU", None, ordinal=ordinal, whole=False)


def _mig_mode(nvml: Nvml, handle: Any) -> bool | None:
    """Return whether a GPU is in MIG mode; False too where it knows none, None where not told."""
    try:
        return bool(nvml.call("DeviceGetMigMode", handle)[0])
    except nvml.errors as error:
        return False if _is(error, NOT_SUPPORTED, FUNCTION_NOT_FOUND) else None


def _memory_is_forbidden(nvml: Nvml, handle: Any) -> bool:
    try:
        nvml.call("DeviceGetMemoryInfo", handle)
    except nvml.errors as error:
        return _is(error, NO_PERMISSION)
    return False


def _instances(nvml: Nvml, gpu: Any, index: int) -> Iterator[Device]:
    for number in range(int(nvml.ask("DeviceGetMaxMigDeviceCount", gpu) or 0)):
        handle = nvml.ask("DeviceGetMigDeviceHandleByIndex", gpu, number)
        found = None if handle is None else _instance(nvml, handle, gpu, index)
        if found is not None:
            yield found


def _instance(nvml: Nvml, handle: Any, gpu: Any, index: int, asked: str = "") -> Device | None:
    """Describe a MIG instance under a name of its own; None where NVML does not tell enough."""
    uuid = _uuid(nvml, handle) or asked
    name = nvml.ask("DeviceGetName", handle) or nvml.ask("DeviceGetName", gpu)
    if not uuid.startswith(MIG) or name is None:
        return None
    memory_bytes, name = _memory_bytes(nvml, handle), _text(name)
    if "MIG" not in name.split():
        size = f"of {memory_bytes / MIB:.0f} MiB" if memory_bytes is not None else "instance"
        name = f"{name} MIG {size}"
    return Device(index, uuid, name, memory_bytes, whole=False)


def _by_name(nvml: Nvml, parts: Sequence[Part], names: Sequence[str]) -> Iterator[Device]:
    """Yield the instances that NVML shows when asked for by name alone, as in some containers."""
    known = [each.uuid for part in parts for each in part.instances]
    for name in names:
        if any(uuid.startswith(name) for uuid in known):
            continue
        handle = nvml.ask("DeviceGetHandleByUUID", name)
        gpu = nvml.ask("DeviceGetDeviceHandleFromMigDeviceHandle", handle)
        index = nvml.ask("DeviceGetIndex", gpu) if gpu is not None else None
        found = None if handle is None else _instance(nvml, handle, gpu, index or 0, name)
        if found is not None:
            yield found


def _uuid(nvml: Nvml, handle: Any) -> str:
    found = nvml.ask("DeviceGetUUID", handle)
    return "" if found is None else _text(found)


def _memory_bytes(nvml: Nvml, handle: Any) -> int | None:
    total = getattr(nvml.ask("DeviceGetMemoryInfo", handle), "total", None)
    if total is not None:
        return int(total) or None
    attributes = nvml.ask("DeviceGetAttributes", handle)
    size = getattr(attributes, "memorySizeMB", None)
    return int(size) * MIB if size else None


def _text(value: str | bytes) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
