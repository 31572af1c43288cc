"""One accelerator as its driver tells it, before anybody has asked whether it may be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from catalog.hardware import Gpu
from catalog.hardware_table import named_as_by_a_driver
from strategies.own_gpus import gpu_of_device

Maker = Literal["NVIDIA", "AMD"]
MIG = "MIG-"


@dataclass(frozen=True, slots=True)
class Device:
    """One GPU, or one MIG instance, that this process may use."""

    index: int
    """The driver library's number of it; of its GPU for a MIG instance."""
    uuid: str
    name: str
    memory_bytes: int | None
    """None where the driver does not tell: it may be the host's memory."""
    maker: Maker = "NVIDIA"
    ordinal: int | None = None
    """Its place in a list of visible devices, where that is not its index."""
    whole: bool = True
    """Whether it is known to be no slice of a GPU: then its name alone says what it is."""

    @property
    def is_mig(self) -> bool:
        return self.uuid.startswith(MIG)

    @property
    def visible_as(self) -> str:
        """How a list of visible devices names it.

        By number, since vLLM has ended on UUIDs; a MIG instance has no number.
        """
        if self.is_mig:
            return self.uuid
        return str(self.index if self.ordinal is None else self.ordinal)

    @property
    def gpu_type(self) -> str:
        """The name of the row that describes it, else the vendor's."""
        return self.known_as()

    def known_as(self, own: Sequence[Gpu] = ()) -> str:
        """The same where the user has asked for GPUs of their own: these come first."""
        if self.memory_bytes is not None or self.whole:
            gpu = gpu_of_device(self.name, self.memory_bytes, own)
            if gpu is not None:
                return gpu.name
        return self.name if named_as_by_a_driver(self.name) else f"{self.maker} {self.name}"


@dataclass(frozen=True, slots=True)
class Part:
    """A GPU of this host, its MIG instances, and what its driver would not tell."""

    device: Device
    cut: bool = False
    """Whether it is in MIG mode: CUDA then shows its instances, never the whole."""
    instances: tuple[Device, ...] = ()
    problem: str = ""
    """Why it cannot be used, or not be named."""
