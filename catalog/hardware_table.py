"""The GPUs that moeserve knows by name: one row each, with where its figures come from.

Memory is what the driver lets a process address (the total in a CUDA out-of-memory message), since
that is what a server budgets from: the "80 GB" on the box are 79.15 GiB = 85.0e9 bytes. Peaks are
dense. Link latencies are NCCL's own cost model (`hwLat` of graph/tuning.cc: ring, LL128, per hop);
inter-node links are assumptions about the usual cluster and say so in their names.
"""

import math

import msgspec

from catalog.errors import BadValue, UnknownName
from catalog.hardware import Gpu, Link
from catalog.units import GB, GIB, TERA

_NVLINK_LATENCY_S = 1.9e-6
_PCIE_LATENCY_S = 2.5e-6
_NETWORK_LATENCY_S = 4.0e-6

_SKYPILOT = "as recorded in github.com/skypilot-org/skypilot-catalog"
_LAMBDA = f"Lambda, on demand, {{}}, {_SKYPILOT} at commit 0f40703 (catalogs/v8/lambda/vms.csv)"
_LAMBDA_8 = _LAMBDA.format("an eighth of the 8-GPU instance")


def _nvlink(generation: int, gigabytes_per_s: float) -> Link:
    return Link(
        name=f"NVLink {generation}",
        bandwidth_bytes_per_s=gigabytes_per_s * GB,
        latency_s=_NVLINK_LATENCY_S,
    )


def _network(name: str, gigabits_per_s: float) -> Link:
    return Link(
        name=f"{name} (assumed)",
        bandwidth_bytes_per_s=gigabits_per_s * GB / 8,
        latency_s=_NETWORK_LATENCY_S,
    )


def _a100(memory_gib: float, bandwidth: float, price: float, price_source: str) -> Gpu:
    return Gpu(
        name=f"A100-{math.ceil(memory_gib)}GB",
        memory_bytes=memory_gib * GIB,
        bandwidth_bytes_per_s=bandwidth,
        flops_per_s={
            "float32": 19.5 * TERA,
            "bfloat16": 312 * TERA,
            "float16": 312 * TERA,
            "int8": 624 * TERA,
            "int4": 1248 * TERA,
        },
        intra_node=_nvlink(3, 300),
        inter_node=_network("InfiniBand HDR, 200 Gb/s a GPU", 200),
        per_node=8,
        price_per_hour_usd=price,
        source="NVIDIA A100 Tensor Core GPU datasheet, SXM4",
        price_source=price_source,
    )


def _hopper(name: str, memory_gib: float, bandwidth: float, price: float, source: str) -> Gpu:
    return Gpu(
        name=name,
        memory_bytes=memory_gib * GIB,
        bandwidth_bytes_per_s=bandwidth,
        flops_per_s={
            "float32": 67 * TERA,
            "bfloat16": 989.4 * TERA,
            "float16": 989.4 * TERA,
            "fp8": 1978.9 * TERA,
            "int8": 1978.9 * TERA,
        },
        intra_node=_nvlink(4, 450),
        inter_node=_network("InfiniBand NDR, 400 Gb/s a GPU", 400),
        per_node=8,
        price_per_hour_usd=price,
        source=f"NVIDIA {name} Tensor Core GPU datasheet, SXM5",
        price_source=source,
    )


_ROWS = (
    _a100(39.49, 1.555 * TERA, 1.99, _LAMBDA.format("gpu_1x_a100_sxm4")),
    _a100(79.15, 2.039 * TERA, 2.79, _LAMBDA_8),
    _hopper("H100", 79.15, 3.35 * TERA, 3.99, _LAMBDA_8),
    _hopper(
        "H200",
        139.8,
        4.8 * TERA,
        3.50,
        f"Nebius, on demand, {_SKYPILOT} at commit 0082b04 (catalogs/v8/nebius/vms.csv)",
    ),
    Gpu(
        name="B200",
        memory_bytes=178.35 * GIB,
        bandwidth_bytes_per_s=8 * TERA,
        flops_per_s={
            "float32": 75 * TERA,
            "bfloat16": 2250 * TERA,
            "float16": 2250 * TERA,
            "fp8": 4500 * TERA,
            "int8": 4500 * TERA,
        },
        intra_node=_nvlink(5, 900),
        inter_node=_network("InfiniBand NDR, 400 Gb/s a GPU", 400),
        per_node=8,
        price_per_hour_usd=6.69,
        source="NVIDIA HGX B200 datasheet, an eighth of the board",
        price_source=_LAMBDA_8,
    ),
    Gpu(
        name="MI300X",
        memory_bytes=191.69 * GIB,
        bandwidth_bytes_per_s=5.3 * TERA,
        flops_per_s={
            "float32": 163.4 * TERA,
            "bfloat16": 1307.4 * TERA,
            "float16": 1307.4 * TERA,
            "fp8": 2614.9 * TERA,
            "int8": 2614.9 * TERA,
        },
        # RCCL's tuning model puts one hop at 2.2 us; each of the 7 links carries 64 GB/s a way.
        intra_node=Link(name="xGMI, 7 links", bandwidth_bytes_per_s=448 * GB, latency_s=2.2e-6),
        inter_node=_network("RoCE, 400 Gb/s a GPU", 400),
        per_node=8,
        price_per_hour_usd=1.85,
        source="AMD Instinct MI300X data sheet",
        price_source="Vultr, on demand, as quoted by cliffcenter.com on 18 May 2026",
    ),
    Gpu(
        name="A6000",
        memory_bytes=47.53 * GIB,
        bandwidth_bytes_per_s=768 * GB,
        flops_per_s={
            "float32": 38.7 * TERA,
            "bfloat16": 154.8 * TERA,
            "float16": 154.8 * TERA,
            "int8": 309.7 * TERA,
            "int4": 619.3 * TERA,
        },
        intra_node=Link(
            name="PCIe 4.0 x16", bandwidth_bytes_per_s=31.5 * GB, latency_s=_PCIE_LATENCY_S
        ),
        inter_node=_network("Ethernet, 100 Gb/s a node of 8", 12.5),
        per_node=8,
        price_per_hour_usd=1.09,
        source="NVIDIA Ampere GA102 whitepaper, RTX A6000; no NVLink bridge assumed",
        price_source=_LAMBDA.format("gpu_1x_a6000"),
    ),
    Gpu(
        name="CPU",
        memory_bytes=16 * GIB,
        bandwidth_bytes_per_s=20 * GB,
        flops_per_s={"float32": 0.1 * TERA, "bfloat16": 0.1 * TERA, "float16": 0.1 * TERA},
        intra_node=Link(
            name="shared memory (assumed)", bandwidth_bytes_per_s=5 * GB, latency_s=2e-5
        ),
        inter_node=_network("Ethernet, 10 Gb/s", 10),
        per_node=8,
        price_per_hour_usd=None,
        source="placeholder for a two-core machine: round numbers of no real part, so that every "
        "path runs without a GPU; estimates for it mean nothing",
    ),
)

GPUS: dict[str, Gpu] = {row.name: row for row in _ROWS}

# A bare "A100" is the 80 GB part. Names of NVML and of torch stand beside the short ones.
ALIASES: dict[str, str] = {
    "A100": "A100-80GB",
    "A100-SXM4-80GB": "A100-80GB",
    "A100-SXM-80GB": "A100-80GB",
    "A100-SXM4-40GB": "A100-40GB",
    "A100-SXM-40GB": "A100-40GB",
    "H100-SXM": "H100",
    "H100-80GB": "H100",
    "H100 80GB HBM3": "H100",
    "H200-SXM": "H200",
    "H200-141GB": "H200",
    "B200-180GB": "B200",
    "Instinct MI300X": "MI300X",
    "MI300X OAM": "MI300X",
    "RTX A6000": "A6000",
    "RTX-A6000": "A6000",
}

_VENDORS = ("nvidia ", "amd ", "instinct ")


def _key(name: str) -> str:
    key = " ".join(name.lower().split())
    for vendor in _VENDORS:
        key = key.removeprefix(vendor)
    return key


_BY_KEY = {
    **{_key(alias): name for alias, name in ALIASES.items()},
    **{_key(name): name for name in GPUS},
}


def gpu(name: str, *, price_per_hour_usd: float | None = None) -> Gpu:
    """Return a row by its name, an alias or its NVML name, at the user's own price if given."""
    found = _BY_KEY.get(_key(name))
    if found is None:
        raise UnknownName("hardware", name, GPUS)
    row = GPUS[found]
    if price_per_hour_usd is None:
        return row
    if not (math.isfinite(price_per_hour_usd) and price_per_hour_usd >= 0):
        raise BadValue("price per GPU-hour", price_per_hour_usd, "US dollars, 0 or more")
    return msgspec.structs.replace(
        row, price_per_hour_usd=price_per_hour_usd, price_source="given by the user"
    )


def detect_name(nvml_name: str, memory_bytes: float) -> str | None:
    """Return the row a device belongs to, or None for a part that no row describes.

    The memory must be within 5 % of the row's: a MIG slice carries its parent's name. PCIe, NVL and
    Grace parts have other figures than the SXM rows, so they are None too.
    """
    found = _BY_KEY.get(_key(nvml_name))
    if found is None or found == "CPU":
        return None
    return found if abs(memory_bytes / GPUS[found].memory_bytes - 1) <= 0.05 else None
