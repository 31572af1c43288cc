"""The GPUs of one server: which it gets, what its environment says of them, what is recorded."""

import os

from orchestrator.engine import LaunchContext
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.devices import BY_BUS, CUDA, HIP, ORDER, Device, devices
from orchestrator.host.part import MIG


def given_gpus(context: LaunchContext, group: ServerGroup) -> tuple[Device, ...]:
    """Return the GPUs of this host that a server is given; none when it runs on the CPU."""
    names = (context.gpus or ())[: group.num_gpus]
    return tuple(device for device in devices() if device.visible_as in names) if names else ()


def gpu_environment(context: LaunchContext, group: ServerGroup) -> dict[str, str]:
    """Return the variables by which a server sees its GPUs alone, or none where it is for the CPU.

    NVML's numbers follow the bus, CUDA's do only when it is told to. A MIG instance is left as the
    user has it: CUDA shows a process just that one, and numbers none.
    """
    if group.setup.hardware == "CPU":
        return {CUDA: "", HIP: ""}
    names = (context.gpus or ())[: group.num_gpus]
    if not names:
        return {}
    if names[0].startswith(MIG):
        return {CUDA: names[0]} if os.environ.get(CUDA, "").startswith(MIG) else {}
    listed = ",".join(names)
    return {
        CUDA: listed,
        **({HIP: listed} if HIP in os.environ else {}),
        **({} if ORDER in os.environ else {ORDER: BY_BUS}),
    }


def gpu_type(context: LaunchContext, group: ServerGroup) -> str:
    """Return the name that a server's GPU is recorded under; as asked for where none is told."""
    if group.setup.hardware == "CPU":
        return "CPU"
    found = given_gpus(context, group) or devices()
    return found[0].known_as(group.setup.own_gpus) if found else group.setup.hardware


def sampled_gpus(context: LaunchContext, group: ServerGroup) -> tuple[int, ...]:
    """Return NVML's numbers of a server's GPUs; a MIG instance's would be its neighbours' too."""
    given = given_gpus(context, group)
    return tuple(each.index for each in given if each.maker == "NVIDIA" and not each.is_mig)
