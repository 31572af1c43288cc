"""A platform plugin for vLLM: its CPU platform, with Ray's GPUs for devices.

vLLM refuses its Ray executor on the CPU only because the platform names no resource of Ray's.
"""


def register() -> str:
    return "raycpu_platform.RayCpuPlatform"
