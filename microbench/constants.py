"""What a sweep on a GPU says of the step model's constants."""

from collections.abc import Sequence

import msgspec

from catalog.hardware import Gpu
from catalog.units import GB
from microbench.bound import Ceilings
from microbench.device import DeviceInfo
from microbench.fits import FitRow
from perfmodel.constants import DEFAULT, Constants
from strategies.own_gpus import gpu_of_device


def gpu_of(device: DeviceInfo) -> Gpu | None:
    """The row of this device; None for CPUs and parts that no row describes."""
    return gpu_of_device(device.name, device.memory_bytes) if device.on_gpu else None


def constants(
    device: DeviceInfo, fits: Sequence[FitRow], ceilings: dict[str, Ceilings]
) -> Constants | None:
    """Replace the two efficiencies of the device's calibration by measured shares of its datasheet.

    Weights at the fitted bandwidth of the fastest backend, products at the measured ceiling. The
    fixed time per step is no constant of the step model, whose launches are counted for a whole
    layer, so those stay as they are. None where there is no datasheet to take a share of.
    """
    gpu = gpu_of(device)
    if gpu is None or not fits:
        return None
    best = max(fits, key=lambda fit: fit.gb_per_s)
    start = DEFAULT
    peak = gpu.peak_flops_per_s(best.dtype)
    return msgspec.structs.replace(
        start,
        name=f"{gpu.name}-microbench",
        memory_efficiency=min(1.0, best.gb_per_s * GB / gpu.bandwidth_bytes_per_s),
        compute_efficiency=min(1.0, ceilings[best.dtype].flops_per_s / peak),
        source=f"memory efficiency: expert MLP, backend {best.backend}, {best.dtype}; compute "
        f"efficiency: a large matrix product on the same GPU; the rest is that of {start.name}",
    )
