"""How much the device and host memory may hold of the weights; what is left over is on disk."""

from importlib.util import find_spec

import msgspec

from catalog.errors import MissingExtra
from catalog.units import size_bytes
from servers.huggingface.flags import flag_words
from strategies.technique import Technique

METHOD = "accelerate-offload"


class DispatchOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """accelerate's `max_memory`; None takes what is free, as accelerate does."""

    gpu_bytes: float | None = None
    cpu_bytes: float | None = None

    def require_library(self) -> None:
        if find_spec("accelerate") is None:
            raise MissingExtra(f"technique {METHOD}", "hf")


def options_of(technique: Technique) -> DispatchOptions | None:
    """Translate the knobs of the technique, which have been checked."""
    knobs = technique.knobs(METHOD)
    if knobs is None:
        return None
    return DispatchOptions(
        gpu_bytes=size_bytes(knobs["gpu"]) if "gpu" in knobs else None,
        cpu_bytes=size_bytes(knobs["cpu"]) if "cpu" in knobs else None,
    )


def arguments_of(options: DispatchOptions) -> list[str]:
    """Write options as arguments of the decoder `dispatch`."""
    given = {"--gpu-bytes": options.gpu_bytes, "--cpu-bytes": options.cpu_bytes}
    return flag_words(given)
