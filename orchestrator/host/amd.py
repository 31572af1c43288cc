"""AMD's GPUs as amdsmi tells them; ROCm brings that package, and none of its errors gets out."""

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

from orchestrator.host.part import Device, Part


def look() -> tuple[tuple[Part, ...], str]:
    """Return this host's AMD GPUs, and why amdsmi does not answer where it does not."""
    try:
        import amdsmi
    except (ImportError, OSError, KeyError, AttributeError) as error:
        # Its module loads ROCm's library by a path that it puts together itself.
        return (), f"amdsmi, which ROCm brings, cannot be loaded: {error}"
    module: ModuleType = amdsmi
    own: type[Exception] = getattr(module, "AmdSmiException", RuntimeError)
    errors = (own, AttributeError, OSError)
    try:
        module.amdsmi_init()
    except errors as error:
        return (), f"amdsmi does not start: {_line(error)}"
    try:
        handles = list(module.amdsmi_get_processor_handles())
        return tuple(_part(module, errors, each, i) for i, each in enumerate(handles)), ""
    except errors as error:
        return (), f"amdsmi does not list its GPUs: {_line(error)}"
    finally:
        with contextlib.suppress(*errors):
            module.amdsmi_shut_down()


def _part(module: ModuleType, errors: tuple[type[Exception], ...], handle: Any, index: int) -> Part:
    def ask(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (KeyError, TypeError):
            return None
        except errors:
            return None

    name = ask(lambda: module.amdsmi_get_gpu_asic_info(handle)["market_name"])
    kind = ask(lambda: module.AmdSmiMemoryType.VRAM)
    memory = ask(lambda: int(module.amdsmi_get_gpu_memory_total(handle, kind)))
    uuid = ask(lambda: str(module.amdsmi_get_gpu_device_uuid(handle)))
    known = isinstance(name, str) and name.strip() not in ("", "N/A")
    device = Device(
        index=index,
        uuid=uuid or "",
        name=str(name).strip() if known else "AMD GPU",
        memory_bytes=memory or None,
        maker="AMD",
        # A partition of an MI300 carries the whole one's name.
        whole=False,
    )
    return Part(device, problem="" if known else f"amdsmi does not tell the name of GPU {index}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
