"""The accelerators that this process may use, or why there are none."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.host import amd, nvml, signs
from orchestrator.host.part import Device, Maker, Part
from orchestrator.host.visible import VisibleList, parse_visible

__all__ = ["Device", "Inventory", "devices", "inventory"]

CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
NONE_HERE = "no GPU here"
ORDER, BY_BUS = "CUDA_DEVICE_ORDER", "PCI_BUS_ID"


@dataclass(frozen=True, slots=True)
class Inventory:
    """The GPUs, or one of two reasons why there are none."""

    devices: tuple[Device, ...] = ()
    absent: str = ""
    """Why certainly no GPU is within reach."""
    trouble: str = ""
    """Why a GPU that is here, or may be, cannot be used: what runs all the same is no CPU run."""

    @property
    def why(self) -> str:
        return self.trouble or self.absent


def devices() -> tuple[Device, ...]:
    """List the GPUs that may be used; empty where there are none, or one that cannot be read."""
    return inventory().devices


def inventory() -> Inventory:
    """Look at this host's GPUs, as far as the lists of visible devices let them through."""
    listed = _listed(CUDA)
    answer = nvml.look(listed.names if listed and listed.asks_mig else ())
    if answer.parts or answer.named:
        return _nvidia(answer.parts, answer.named, listed)
    parts, silent = amd.look()
    if parts:
        return _amd(parts, listed)
    return Inventory(absent=NONE_HERE, trouble=_trouble(answer, silent))


def _trouble(answer: nvml.NvmlAnswer, amd_silent: str) -> str:
    """Say which GPU there may be all the same; empty where nothing speaks for one."""
    if answer.broken:
        return answer.silent
    if sign := signs.nvidia_sign():
        return f"an NVIDIA GPU is here ({sign}), but {answer.silent or 'NVML shows none'}"
    if sign := signs.amd_sign():
        return f"an AMD GPU is here ({sign}), but {amd_silent or 'amdsmi shows none'}"
    if sign := signs.other_sign():
        return f"{sign} is here, which moeserve cannot give to a server"
    return ""


def _listed(variable: str) -> VisibleList | None:
    text = os.environ.get(variable)
    return None if text is None else parse_visible(text)


def _nvidia(
    parts: tuple[Part, ...], named: tuple[Device, ...], listed: VisibleList | None
) -> Inventory:
    order = os.environ.get(ORDER, BY_BUS)
    if order != BY_BUS and len({part.device.known_as() for part in parts}) > 1:
        return Inventory(
            trouble=f"{ORDER}={order} numbers GPUs of several kinds as NVML does not: set it to "
            f"{BY_BUS}"
        )
    if listed is not None and listed.asks_mig:
        return _mig(listed, [*(each for part in parts for each in part.instances), *named])
    if listed is None:
        return _usable(parts)
    chosen = listed.ordinals_of([part.device.uuid for part in parts])
    if not chosen:
        return _none_of(listed, CUDA, len(parts), "NVIDIA")
    return _usable([parts[ordinal] for ordinal in chosen])


def _mig(listed: VisibleList, instances: Sequence[Device]) -> Inventory:
    """CUDA gives a process one instance, the first that is listed."""
    matching = [each for each in instances if each.uuid.startswith(listed.names[0])]
    if len(matching) == 1:
        return Inventory((matching[0],))
    which = "no MIG instance" if not matching else "several MIG instances"
    return Inventory(
        trouble=f"{CUDA}={listed.text} names {which} that NVML shows here: see nvidia-smi -L"
    )


def _usable(chosen: Sequence[Part]) -> Inventory:
    """Return what CUDA shows of GPUs, which may be in MIG mode."""
    if problem := next((part.problem for part in chosen if part.problem), ""):
        return Inventory(trouble=problem)
    cut = [part for part in chosen if part.cut]
    if not cut:
        return Inventory(tuple(part.device for part in chosen))
    instances = [each for part in cut for each in part.instances]
    where = f"GPU {', '.join(str(part.device.index) for part in cut)} is in MIG mode"
    if len(cut) < len(chosen):
        whole = ",".join(part.device.visible_as for part in chosen if not part.cut)
        return Inventory(
            trouble=f"{where} beside whole GPUs, and CUDA shows not both: {CUDA}={whole}, or one "
            "of the instances that nvidia-smi -L lists"
        )
    if len(instances) != 1:
        shown = "and NVML shows no instance of it" if not instances else "and cut into several"
        return Inventory(
            trouble=f"{where} {shown}: {CUDA}=MIG-… names one (nvidia-smi -L lists them, "
            "nvidia-smi -mig 0 makes it whole again)"
        )
    return Inventory((instances[0],))


def _none_of(listed: VisibleList, variable: str, count: int, maker: Maker) -> Inventory:
    why = ": it names one twice" if listed.repeats else ""
    text = f"{variable}={listed.text!r} lets none of the {count} {maker} GPUs here through{why}"
    return Inventory(trouble=text) if listed.names else Inventory(absent=text)


def _amd(parts: tuple[Part, ...], cuda: VisibleList | None) -> Inventory:
    """HIP counts what ROCm's own list lets through, by its variable or, without it, by CUDA's."""
    hip = _listed(HIP)
    if hip and cuda and hip.text and cuda.text and hip.text != cuda.text:
        return Inventory(trouble=f"{HIP}={hip.text} and {CUDA}={cuda.text} ask for different GPUs")
    for variable, listed in ((ROCR, _listed(ROCR)), (HIP if hip else CUDA, hip or cuda)):
        if listed is None:
            continue
        chosen = listed.ordinals_of([part.device.uuid for part in parts])
        if not chosen:
            return _none_of(listed, variable, len(parts), "AMD")
        parts = tuple(parts[ordinal] for ordinal in chosen)
        if variable == ROCR:
            parts = tuple(_numbered(part, place) for place, part in enumerate(parts))
    if problem := next((part.problem for part in parts if part.problem), ""):
        return Inventory(trouble=problem)
    return Inventory(tuple(part.device for part in parts))


def _numbered(part: Part, ordinal: int) -> Part:
    return replace(part, device=replace(part.device, ordinal=ordinal))
