"""The platform itself, imported by vLLM once it has chosen it."""

from vllm.platforms.cpu import CpuPlatform


class RayCpuPlatform(CpuPlatform):
    """One made-up GPU is one rank on the CPU."""

    ray_device_key = "GPU"

    @classmethod
    def get_device_communicator_cls(cls) -> str:
        return "raycpu_communicator.HostsCommunicator"
