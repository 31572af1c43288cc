"""A GPU as a file holds it: flat, one name a figure, the same in this catalog and in a user's own.

The columns of `moeserve hardware --format json` are these fields.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from catalog.errors import BadValue, closest
from catalog.hardware import Gpu, Link
from catalog.units import size_bytes

# Where a file does not say: NCCL's own cost of a hop over PCIe and over a network.
ASSUMED_LATENCY_S = {"intra_node": 2.5e-6, "inter_node": 4.0e-6}
MARK = "#"
"""Between the name of a user's own GPU and the hash of its numbers."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()-]{0,62}")
HASHED_NAME = re.compile(NAME.pattern + MARK + r"[0-9a-f]{8}")
LONGEST_SHOWN = 60
DTYPES = ("float32", "bfloat16", "float16", "fp8", "int8", "int4", "fp4")

# Beyond these no part that exists or is announced lies: such a figure is in another unit.
Range = tuple[float, float, str]
MEMORY: Range = (1e8, 1e14, "bytes: 100 MB to 100 TB, as 80e9 or 80 GiB")
BANDWIDTH: Range = (1e8, 1e16, "bytes a second: 1e8 to 1e16, as 3.35e12 or 3.35 TB/s")
LINK: Range = (1e6, 1e15, "bytes a second and direction: 1e6 to 1e15, as 450e9 or 450 GB/s")
PEAK: Range = (1e9, 1e19, "operations a second without sparsity: 1e9 to 1e19, as 989e12")
LATENCY: Range = (1e-9, 1.0, "seconds: 1e-9 to 1, as 2e-6")
PRICE: Range = (0.0, 1e5, "US dollars an hour: 0 to 100000")
COUNT: Range = (1, 4096, "1 to 4096 GPUs")
RANGES: dict[str, Range] = {
    "memory_bytes": MEMORY,
    "bandwidth_bytes_per_s": BANDWIDTH,
    **{f"{dtype}_flops_per_s": PEAK for dtype in DTYPES},
    "intra_node_bytes_per_s": LINK,
    "intra_node_latency_s": LATENCY,
    "inter_node_bytes_per_s": LINK,
    "inter_node_latency_s": LATENCY,
    "gpus_per_node": COUNT,
    "gpus_linked": COUNT,
    "host_link_bytes_per_s": LINK,
    "host_memory_bytes_per_s": BANDWIDTH,
    "disk_bytes_per_s": LINK,
    "price_per_hour_usd": PRICE,
}
SAID = frozenset({"price_per_hour_usd"})
"""Figures that are no property of the part."""


class GpuRow(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One row. BadValue for a figure that cannot be, or that misses its companion."""

    hardware: str
    """Its name."""
    memory_bytes: float
    bandwidth_bytes_per_s: float
    float32_flops_per_s: float | None = None
    bfloat16_flops_per_s: float | None = None
    float16_flops_per_s: float | None = None
    fp8_flops_per_s: float | None = None
    int8_flops_per_s: float | None = None
    int4_flops_per_s: float | None = None
    fp4_flops_per_s: float | None = None
    intra_node: str | None = None
    """Name of the link inside a node, and so on; per GPU and direction."""
    intra_node_bytes_per_s: float | None = None
    intra_node_latency_s: float | None = None
    inter_node: str | None = None
    inter_node_bytes_per_s: float | None = None
    inter_node_latency_s: float | None = None
    gpus_per_node: int | None = None
    gpus_linked: int | None = None
    """GPUs that the link inside a node joins, where that is not a node."""
    host_link_bytes_per_s: float | None = None
    host_memory_bytes_per_s: float | None = None
    disk_bytes_per_s: float | None = None
    price_per_hour_usd: float | None = None
    source: str = ""
    price_source: str = ""
    aliases: tuple[str, ...] = ()
    driver_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.hardware, *self.aliases):
            if not NAME.fullmatch(name):
                allowed = "letters, digits, spaces and . _ + - ( ), up to 63, a letter first"
                field = "hardware" if name is self.hardware else "aliases"
                raise BadValue(field, _short(name), allowed)
        for field, (least, most, allowed) in RANGES.items():
            value = getattr(self, field)
            if value is not None and not least <= value <= most:
                raise BadValue(field, value, allowed)
        self._check_companions()

    def _check_companions(self) -> None:
        if self.bfloat16_flops_per_s is None and self.float16_flops_per_s is None:
            raise BadValue("bfloat16_flops_per_s", None, f"it or float16_flops_per_s, {PEAK[2]}")
        for end in ("intra_node", "inter_node"):
            beside = getattr(self, end) or getattr(self, f"{end}_latency_s")
            if beside is not None and getattr(self, f"{end}_bytes_per_s") is None:
                raise BadValue(f"{end}_bytes_per_s", None, f"{LINK[2]}, beside {beside!r}")
        if self.intra_node_bytes_per_s is not None and self.gpus_per_node is None:
            raise BadValue("gpus_per_node", None, f"{COUNT[2]}, beside intra_node_bytes_per_s")

    @property
    def digest(self) -> str:
        """Eight hex digits of everything that an estimate computes with: no name, no price."""
        figures = {name: getattr(self, name) for name in RANGES if name not in SAID}
        figures["gpus_per_node"] = self.gpus_per_node or 1
        for end, assumed_s in ASSUMED_LATENCY_S.items():
            if figures[f"{end}_bytes_per_s"] is not None and figures[f"{end}_latency_s"] is None:
                figures[f"{end}_latency_s"] = assumed_s
        known = {name: float(value) for name, value in figures.items() if value is not None}
        encoded = msgspec.json.encode(known, order="deterministic")
        return hashlib.sha256(encoded).hexdigest()[:8]

    @property
    def own_name(self) -> str:
        """Name of a user's own: the same numbers are the same GPU wherever their file lies."""
        return f"{self.hardware}{MARK}{self.digest}"


def row_from(document: object) -> GpuRow:
    """Read a row from decoded YAML, JSON or TOML; BadValue names the field and what is allowed.

    Numbers may be written as text (YAML reads 3e12 as text), bytes with a unit.
    """
    if not isinstance(document, Mapping):
        raise BadValue("a GPU", _short(document), "fields and values, as `memory_bytes: 80e9`")
    names = GpuRow.__struct_fields__
    for key in document:
        if key not in names and key != "file":  # which `moeserve hardware` adds
            near = closest(str(key), names)
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            raise BadValue("field", _short(key), f"{meant}fields are {', '.join(names)}")
    given = {key: value for key, value in document.items() if value is not None and key != "file"}
    for key in ("hardware", "memory_bytes", "bandwidth_bytes_per_s"):
        if key not in given:
            allowed = RANGES[key][2] if key in RANGES else "the GPU's name"
            raise BadValue(key, None, f"{allowed}; it is missing")
    fields: dict[str, Any] = {key: _value(key, value) for key, value in given.items()}
    return GpuRow(**fields)


def gpu_from(row: GpuRow, *, file: str = "") -> Gpu:
    """Build the GPU of a row: of this catalog, or of a user's file, whose name ends in a hash."""
    peaks = {dtype: getattr(row, f"{dtype}_flops_per_s") for dtype in DTYPES}
    return Gpu(
        name=row.own_name if file else row.hardware,
        memory_bytes=row.memory_bytes,
        bandwidth_bytes_per_s=row.bandwidth_bytes_per_s,
        flops_per_s={dtype: peak for dtype, peak in peaks.items() if peak is not None},
        intra_node=_link(row, "intra_node"),
        inter_node=_link(row, "inter_node"),
        per_node=row.gpus_per_node or 1,
        island=row.gpus_linked,
        price_per_hour_usd=row.price_per_hour_usd,
        source=row.source or ("given by the user" if file else ""),
        price_source=row.price_source
        or ("given by the user" if file and row.price_per_hour_usd is not None else ""),
        host_link_bytes_per_s=row.host_link_bytes_per_s,
        host_memory_bytes_per_s=row.host_memory_bytes_per_s,
        disk_bytes_per_s=row.disk_bytes_per_s,
        aliases=row.aliases,
        driver_names=row.driver_names,
        file=file,
    )


def row_of(gpu: Gpu) -> GpuRow:
    """Return the row that a GPU was built from."""
    fields: dict[str, Any] = {
        "hardware": gpu.name.partition(MARK)[0],
        "gpus_per_node": gpu.per_node,
        "gpus_linked": gpu.island,
        **{f"{dtype}_flops_per_s": peak for dtype, peak in gpu.flops_per_s.items()},
        **{name: getattr(gpu, name) for name in GpuRow.__struct_fields__ if hasattr(gpu, name)},
    }
    for end in ASSUMED_LATENCY_S:
        link: Link | None = getattr(gpu, end)
        fields[end] = link.name if link else None
        fields[f"{end}_bytes_per_s"] = link.bandwidth_bytes_per_s if link else None
        fields[f"{end}_latency_s"] = link.latency_s if link else None
    return GpuRow(**fields)


def _link(row: GpuRow, end: str) -> Link | None:
    bytes_per_s, latency_s = getattr(row, f"{end}_bytes_per_s"), getattr(row, f"{end}_latency_s")
    if bytes_per_s is None:
        return None
    return Link(
        name=getattr(row, end) or "given by the user",
        bandwidth_bytes_per_s=bytes_per_s,
        latency_s=ASSUMED_LATENCY_S[end] if latency_s is None else latency_s,
    )


def _value(field: str, value: object) -> object:
    """Check one field's type; numbers as numbers."""
    if field in ("aliases", "driver_names"):
        return _texts(field, value)
    if field not in RANGES:
        if isinstance(value, str):
            return value
        raise BadValue(field, _short(value), "text")
    allowed = RANGES[field][2]
    number = _number(value, in_bytes="bytes" in field)
    if number is None or not math.isfinite(number):
        raise BadValue(field, _short(value), allowed)
    if RANGES[field] is not COUNT:
        return number
    if number != int(number):
        raise BadValue(field, value, allowed)
    return int(number)


def _number(value: object, *, in_bytes: bool) -> float | None:
    if in_bytes and isinstance(value, str):
        size = size_bytes(value.removesuffix("/s"))
        if size is not None:
            return size
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _texts(field: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(each.strip() for each in value.split(","))
    if not isinstance(value, list | tuple) or not all(isinstance(each, str) for each in value):
        raise BadValue(field, _short(value), "a list of names")
    return tuple(value)


def _short(value: object) -> object:
    """A value as an error may show it."""
    text = repr(value)
    return value if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
