"""What `moeserve microbench experts -o DIR` measured on a user's device, as a table of experts."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np

from catalog.errors import BadFile
from catalog.hardware import Gpu
from catalog.hardware_table import describes
from catalog.models import Experts
from catalog.named_file import read_named
from perfmodel.experts import touched
from perfmodel.kernel_tables.experts import GATED, LayerExperts
from perfmodel.kernel_tables.grid import Curve, Measured, measured
from perfmodel.kernel_tables.kernels import Kernels, Wanted
from perfmodel.kernel_tables.rows import MS
from perfmodel.shard import weight_dtypes

RESULT = "result.json"
BACKEND = "vllm"
"""Whose kernels a server runs: loops and batched products of torch are no server's."""
CPU = "CPU"
UNSKEWED = ("uniform", "random")


class Device(msgspec.Struct, frozen=True):
    device: str
    """torch's name: cpu, cuda:0."""
    name: str
    memory_bytes: int


class Job(msgspec.Struct, frozen=True):
    device: Device


class Row(msgspec.Struct, frozen=True):
    """One backend at one point, as far as it is used here."""

    backend: str
    dtype: str
    routing: str
    batch: int
    hidden: int
    intermediate: int
    experts: int
    touched_experts: int
    top_k: int
    median_ms: float | None = None
    cached: bool = False
    """Whether the weights stayed in a cache, as no server's do: such times are not used."""


class Result(msgspec.Struct, frozen=True):
    job: Job
    rows: list[Row]


def kernels(folder: Path, wanted: Wanted) -> Kernels:
    """Experts that lie whole on a rank or in slices; nothing for another device.

    A rank of expert parallelism holds some experts and computes those tokens alone that chose
    them, which is not what was timed.
    """
    result, gpu = _read(folder / RESULT), wanted.gpu
    device = result.job.device
    if not _is(gpu, device):
        return Kernels(f"no table of {gpu.name}: measured on {device.name}")
    name, experts, layout = f"microbench on {device.name}", wanted.model.experts, wanted.layout
    ranks = layout.tp * layout.dp
    if experts is None or wanted.skewed is None or (layout.ep and ranks > 1):
        return Kernels(name)
    if experts.matrices != GATED or experts.space is not None or experts.width % ranks:
        return Kernels(name)
    dtype = weight_dtypes(wanted.model)[1]
    shape = (dtype, wanted.model.hidden, experts.width // ranks, experts.count, experts.top_k)
    layer = _layer([row for row in result.rows if _shape(row) == shape], experts)
    if layer is None:
        return Kernels(name)
    return Kernels(name, experts=LayerExperts(layer, experts.layers), own=True)


def _is(gpu: Gpu, device: Device) -> bool:
    """Whether the table is of this GPU; the CPU of the catalog is whichever was measured."""
    if device.device == CPU.lower() or gpu.name == CPU:
        return device.device == CPU.lower() and gpu.name == CPU
    return describes(gpu, device.name, device.memory_bytes)


def _shape(row: Row) -> tuple[str, int, int, int, int]:
    return row.dtype, row.hidden, row.intermediate, row.experts, row.top_k


def _layer(rows: Sequence[Row], experts: Experts) -> Measured | None:
    """Seconds over tokens, each batch at the experts that so many tokens touch."""
    kept = [
        row for row in rows
        if row.backend == BACKEND and row.routing in UNSKEWED and row.median_ms and not row.cached
    ]  # fmt: skip
    batches = sorted({row.batch for row in kept})
    found = []
    for batch in batches:
        here = [row for row in kept if row.batch == batch]
        hit = np.array([row.touched_experts for row in here], dtype=np.float64)
        curve = measured([hit], np.array([row.median_ms or 0.0 for row in here]) * MS)
        assert curve is not None  # the batch is one of a row's
        found.append(float(curve.at(touched(experts.count, experts.top_k, batch))))
    known = np.isfinite(found)
    if known.sum() < 2:
        return None
    return Curve(np.log(np.array(batches)[known]), np.log(np.array(found)[known]))


def _read(path: Path) -> Result:
    try:
        return msgspec.json.decode(read_named(path), type=Result)
    except msgspec.DecodeError as error:
        raise BadFile(path, f"not a result of `moeserve microbench experts`: {error}") from error
