"""The GPUs that moeserve knows by name: `data/gpus.json`, one row each, with its source.

Memory is what the driver lets a process address (the total in a CUDA out-of-memory message), since
that is what a server budgets from: the "80 GB" on the box are 79.15 GiB = 85.0e9 bytes. Where only
NVML's total is known, the row says so. Peaks are dense. Link latencies are NCCL's own cost model
(`hwLat` of graph/tuning.cc: ring, LL128, per hop; RCCL's for xGMI); inter-node links are
assumptions about the usual cluster and say so in their names. What no datasheet tells is left out.
"""

import math
import re
from collections.abc import Iterable
from importlib import resources

import msgspec

from catalog.errors import BadValue, UnknownName, closest
from catalog.gpu_row import GpuRow, gpu_from
from catalog.hardware import Gpu

MEMORY_TOLERANCE = 0.05
"""Between a device and its row: a MIG slice carries its parent's name."""
HOW_TO_ADD = "moeserve hardware lists all; its --help says how to give your own: --hardware FILE"

_MAKERS = ("nvidia ", "amd ", "intel ", "google ")
_BRANDS = (*_MAKERS, "instinct ", "tesla ", "geforce ", "quadro ", "titan ", "grid ", "radeon ")


def _read() -> dict[str, Gpu]:
    text = resources.files("catalog").joinpath("data/gpus.json").read_bytes()
    rows = msgspec.json.decode(text, type=list[GpuRow])
    return {row.hardware: gpu_from(row) for row in rows}


GPUS: dict[str, Gpu] = _read()

# A bare "A100" is the 80 GB part.
ALIASES: dict[str, str] = {alias: row.name for row in GPUS.values() for alias in row.aliases}


def name_key(name: str) -> str:
    """Reduce a name to what tells parts apart: no case, maker, brand, or separators."""
    return "".join(_words(name))


def named_within(name: str, longer: str) -> bool:
    """Return whether a longer name holds a name word by word: Tesla T4 holds T4, T400 does not."""
    return f" {' '.join(_words(name))} " in f" {' '.join(_words(longer))} "


def _words(name: str) -> list[str]:
    key = " ".join(re.split(r"[\s_()-]+", name.lower())).strip()
    for brand in _BRANDS:
        key = key.removeprefix(brand)
    return key.split()


def _driver_key(name: str) -> str:
    """Drivers' names are told apart to the letter, but for case, spaces and the maker."""
    key = " ".join(name.lower().split())
    for maker in _MAKERS:
        key = key.removeprefix(maker)
    return key


def names_of(gpu: Gpu) -> Iterable[str]:
    """Every name that a GPU goes by."""
    return (gpu.name, *gpu.aliases, *gpu.driver_names)


_BY_KEY = {name_key(name): row.name for row in GPUS.values() for name in names_of(row)}
_BY_DRIVER = {_driver_key(name): row for row in GPUS.values() for name in row.driver_names}


def known_gpu(name: str) -> Gpu | None:
    """Return a row of this catalog by its name, an alias or its driver's name."""
    found = _BY_KEY.get(name_key(name))
    return GPUS[found] if found else None


def gpu(name: str, *, price_per_hour_usd: float | None = None) -> Gpu:
    """Return a row by any of its names, at the user's own price if given."""
    row = known_gpu(name)
    if row is None:
        raise UnknownName("hardware", name, GPUS, meant=_alike(name), hint=HOW_TO_ADD)
    return row if price_per_hour_usd is None else priced(row, price_per_hour_usd)


def _alike(name: str) -> list[str]:
    """The forms of a part whose bare name this is, or else rows with a name much like it."""
    key = name_key(name)
    forms = [row for row in GPUS if key and name_key(row).startswith(key)]
    close = (GPUS[_BY_KEY[each]].name for each in closest(key, _BY_KEY))
    return forms or list(dict.fromkeys(close))


def priced(row: Gpu, price_per_hour_usd: float) -> Gpu:
    """Return a GPU at the user's own price."""
    if not (math.isfinite(price_per_hour_usd) and price_per_hour_usd >= 0):
        raise BadValue("price per GPU-hour", price_per_hour_usd, "US dollars, 0 or more")
    return msgspec.structs.replace(
        row, price_per_hour_usd=price_per_hour_usd, price_source="given by the user"
    )


def detect_name(driver_name: str, memory_bytes: float | None) -> str | None:
    """Return the row a device belongs to, or None for a part that no row describes.

    Forms of a part (PCIe, NVL, Grace, laptop) have their own figures: only the whole name counts.
    """
    row = _BY_DRIVER.get(_driver_key(driver_name))
    return row.name if row and describes(row, driver_name, memory_bytes) else None


def describes(row: Gpu, driver_name: str, memory_bytes: float | None) -> bool:
    """Return whether a device, as its driver tells it, is of this row; None is memory not told."""
    named = _driver_key(driver_name) in map(_driver_key, row.driver_names)
    if memory_bytes is None:
        return named
    return named and abs(memory_bytes / row.memory_bytes - 1) <= MEMORY_TOLERANCE


def named_as_by_a_driver(name: str) -> bool:
    """Return whether a name is one that a driver would give, such as `NVIDIA T1000`."""
    return " ".join(name.lower().split()).startswith(_BRANDS)
