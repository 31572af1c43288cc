"""Every GPU's row against its datasheet, and names as drivers report them."""

import pytest

from catalog.errors import BadValue, UnknownName
from catalog.hardware import Gpu
from catalog.hardware_table import ALIASES, GPUS, detect_name, gpu
from catalog.units import DTYPE_BYTES, GIB, MIB

TERA = 1e12
# bfloat16 FLOP/s without sparsity and memory bandwidth, as printed in each datasheet.
DATASHEETS = [
    ("A100-40GB", 312, 1.555),
    ("A100-80GB", 312, 2.039),
    ("H100", 989.4, 3.35),
    ("H200", 989.4, 4.8),
    ("B200", 2250, 8.0),
    ("MI300X", 1307.4, 5.3),
    ("A6000", 154.8, 0.768),
]


@pytest.mark.parametrize(("name", "bfloat16", "bandwidth"), DATASHEETS)
def test_peaks_and_bandwidth_are_the_datasheets(
    name: str, bfloat16: float, bandwidth: float
) -> None:
    row = gpu(name)
    assert row.peak_flops_per_s("bfloat16") == pytest.approx(bfloat16 * TERA)
    assert row.bandwidth_bytes_per_s == pytest.approx(bandwidth * TERA)


def test_the_b200_is_the_qs_papers_reference_gpu() -> None:
    # Its table 2: 180 GB, 8.0 TB/s, 4.5 PFLOPS FP8, 2.25 PFLOPS BF16, 900 GB/s one way.
    row = gpu("B200")
    assert row.memory_bytes / GIB == pytest.approx(180, rel=0.01)
    assert row.peak_flops_per_s("fp8") == 4500 * TERA
    assert row.intra_node.bandwidth_bytes_per_s == 900e9


@pytest.mark.parametrize("row", GPUS.values(), ids=lambda row: row.name)
def test_every_row_is_sourced_and_every_price_says_where_and_when(row: Gpu) -> None:
    assert row.source
    assert (row.price_per_hour_usd is None) == (row.price_source == "")
    assert row.flops_per_s.keys() <= DTYPE_BYTES.keys()
    assert {"float32", "bfloat16", "float16"} <= row.flops_per_s.keys()
    assert row.inter_node.bandwidth_bytes_per_s < row.intra_node.bandwidth_bytes_per_s
    assert "assumed" in row.inter_node.name


@pytest.mark.parametrize("row", GPUS.values(), ids=lambda row: row.name)
def test_narrower_types_are_never_slower(row: Gpu) -> None:
    peaks = [row.peak_flops_per_s(dtype) for dtype in ("float32", "bfloat16", "int8", "int4")]
    assert peaks[0] <= peaks[1] <= peaks[2]
    assert row.flops_per_s.get("int4", peaks[2]) >= peaks[2]


def test_a_type_without_units_of_its_own_computes_at_bfloat16s_rate() -> None:
    assert gpu("A100").peak_flops_per_s("fp8") == gpu("A100").peak_flops_per_s("bfloat16")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("a100", "A100-80GB"),
        ("A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("nvidia  h200", "H200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA RTX A6000", "A6000"),
        ("AMD Instinct MI300X", "MI300X"),
        ("cpu", "CPU"),
    ],
)
def test_a_gpu_is_found_by_name_alias_and_driver_name(name: str, row: str) -> None:
    assert gpu(name) is GPUS[row]


def test_every_alias_leads_to_a_row() -> None:
    for alias, name in ALIASES.items():
        assert gpu(alias) is GPUS[name]


def test_an_unknown_gpu_is_refused_with_the_close_one() -> None:
    with pytest.raises(UnknownName, match=r"unknown hardware 'H10O'\. Did you mean H100"):
        gpu("H10O")


def test_the_users_price_replaces_the_catalogs_and_says_so() -> None:
    mine = gpu("h100", price_per_hour_usd=1.25)
    assert (mine.price_per_hour_usd, mine.price_source) == (1.25, "given by the user")
    assert gpu("h100").price_per_hour_usd != 1.25
    assert gpu("cpu", price_per_hour_usd=0).price_per_hour_usd == 0


@pytest.mark.parametrize("price", [-1.0, float("nan"), float("inf")])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(BadValue, match="price per GPU-hour"):
        gpu("h100", price_per_hour_usd=price)


# `nvidia-smi --query-gpu=name,memory.total` (MiB) of the parts, and of parts that look alike.
@pytest.mark.parametrize(
    ("name", "memory_mib", "row"),
    [
        ("NVIDIA A100-SXM4-40GB", 40960, "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", 81920, "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", 81559, "H100"),
        ("NVIDIA H200", 143771, "H200"),
        ("NVIDIA B200", 183359, "B200"),
        ("NVIDIA RTX A6000", 49140, "A6000"),
        ("AMD Instinct MI300X OAM", 196592, "MI300X"),
        ("NVIDIA A100-SXM4-80GB", 9728, None),
        ("NVIDIA A100 80GB PCIe", 81920, None),
        ("NVIDIA H100 PCIe", 81559, None),
        ("NVIDIA H100 NVL", 95830, None),
        ("NVIDIA GH200 480GB", 97871, None),
        ("NVIDIA GeForce RTX 4090", 24564, None),
        ("CPU", 16384, None),
        ("", 0, None),
    ],
)
def test_a_device_is_detected_only_where_a_row_describes_it(
    name: str, memory_mib: int, row: str | None
) -> None:
    assert detect_name(name, memory_mib * MIB) == row
