"""What a sweep on a GPU says of the step model's constants."""

from collections.abc import Sequence

import msgspec

from catalog.hardware import Gpu
from catalog.hardware_table import GPUS, detect_name
from catalog.units import GB
from microbench.bound import Ceilings
from microbench.device import Device
from microbench.fits import FitRow
from perfmodel.constants import Constants, default_calibration


def gpu_of(device: Device) -> Gpu | None:
    """The catalog's row of this device; None for CPUs and parts that no row describes."""
    name = detect_name(device.name, device.memory_bytes) if device.on_gpu else None
    return GPUS[name] if name else None


def constants(
    device: Device, fits: Sequence[FitRow], ceilings: dict[str, Ceilings]
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
    start = default_calibration(gpu.name)
    peak = gpu.peak_flops_per_s(best.dtype)
    return msgspec.structs.replace(
        start,
        name=f"{gpu.name}-microbench",
        memory_efficiency=min(1.0, best.gb_per_s * GB / gpu.bandwidth_bytes_per_s),
        compute_efficiency=min(1.0, ceilings[best.dtype].flops_per_s / peak),
        source=f"memory efficiency: expert MLP, backend {best.backend}, {best.dtype}; compute "
        f"efficiency: a large matrix product on the same GPU; the rest is that of {start.name}",
    )
