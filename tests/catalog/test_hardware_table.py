"""Every GPU's row against its datasheet, and names as drivers report them."""

import pytest

from catalog.errors import BadValue, UnknownName
from catalog.gpu_row import DTYPES, gpu_from, row_of
from catalog.hardware import Gpu
from catalog.hardware_table import (
    ALIASES,
    GPUS,
    detect_name,
    gpu,
    name_key,
    named_within,
    names_of,
)
from catalog.units import GIB, MIB

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
    ("A100-PCIe-80GB", 312, 1.935),
    ("H100-PCIe", 756.5, 2.0),
    ("H100-NVL", 835.5, 3.9),
    ("H800", 989.4, 3.35),
    ("H20", 148, 4.0),
    ("GH200", 989.4, 4.0),
    ("B300", 2250, 7.75),
    ("GB200", 2500, 8.0),
    ("GB300", 2500, 8.0),
    ("L40S", 362.05, 0.864),
    ("L4", 121, 0.3),
    ("RTX-4090", 165.2, 1.008),
    ("RTX-5090", 209.5, 1.792),
    ("RTX-PRO-6000-WS", 503.8, 1.792),
    ("MI325X", 1307.4, 6.0),
    ("MI350X", 2306.9, 8.0),
    ("MI355X", 2516.6, 8.0),
    ("H200-NVL", 835.5, 4.8),
    ("H20-3e", 148, 4.8),
    ("A800", 312, 2.039),
    ("A800-PCIe", 312, 1.935),
    ("A10", 125, 0.6),
    ("A10G", 70, 0.6),
    ("A40", 149.7, 0.696),
    ("L40", 181.05, 0.864),
    ("RTX-3090", 71, 0.936),
    ("RTX-6000-Ada", 364.2, 0.96),
    ("RTX-PRO-6000-MQ", 438.9, 1.792),
    ("Gaudi-2", 432, 2.46),
    ("Gaudi-3", 1835, 3.67),
    ("TPU-v5e", 197, 0.819),
    ("TPU-v6e", 918, 1.638),
]
# FP4 FLOP/s without sparsity.
FOUR_BITS = [
    ("B200", 9000),
    ("B300", 14000),
    ("GB200", 10000),
    ("GB300", 15000),
    ("RTX-5090", 1676),
]
# Blackwell Ultra has next to no units for 8-bit integers.
SLOW_INT8 = {"B300", "GB300"}


@pytest.mark.parametrize(("name", "bfloat16", "bandwidth"), DATASHEETS)
def test_peaks_and_bandwidth_are_the_datasheets(
    name: str, bfloat16: float, bandwidth: float
) -> None:
    row = gpu(name)
    assert row.peak_flops_per_s("bfloat16") == pytest.approx(bfloat16 * TERA)
    assert row.bandwidth_bytes_per_s == pytest.approx(bandwidth * TERA)


@pytest.mark.parametrize(("name", "fp4"), FOUR_BITS)
def test_nvfp4_computes_at_the_datasheets_fp4_rate(name: str, fp4: float) -> None:
    assert gpu(name).peak_flops_per_s("nvfp4") == fp4 * TERA
    # Weights of MXFP4 usually meet 16-bit activations; that they need not only bounds the floor.
    assert gpu(name).peak_flops_per_s("mxfp4") == gpu(name).peak_flops_per_s("bfloat16")
    assert gpu(name).most_flops_per_s("mxfp4") == fp4 * TERA


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
    assert row.flops_per_s.keys() <= set(DTYPES)
    assert {"bfloat16", "float16"} & row.flops_per_s.keys()
    assert row.file == ""
    near, far = row.intra_node, row.inter_node
    assert near is None or far is None or far.bandwidth_bytes_per_s < near.bandwidth_bytes_per_s
    assert far is None or "assumed" in far.name
    assert near is not None or row.per_node == 1


@pytest.mark.parametrize("row", GPUS.values(), ids=lambda row: row.name)
def test_memory_is_in_bytes_and_is_read_in_about_a_tenth_of_a_second(row: Gpu) -> None:
    assert 7.9 * GIB < row.memory_bytes < 300 * GIB
    assert row.memory_bytes / row.bandwidth_bytes_per_s < (1.0 if row.name == "CPU" else 0.11)


@pytest.mark.parametrize("row", GPUS.values(), ids=lambda row: row.name)
def test_a_row_survives_being_written_and_read_again(row: Gpu) -> None:
    assert gpu_from(row_of(row)) == row


def test_no_two_rows_go_by_the_same_name() -> None:
    keys = [{name_key(name) for name in names_of(row)} for row in GPUS.values()]
    assert sum(map(len, keys)) == len(set().union(*keys))


@pytest.mark.parametrize("row", GPUS.values(), ids=lambda row: row.name)
def test_narrower_types_are_never_slower(row: Gpu) -> None:
    for narrow, wide in (
        *(("bfloat16", "float32"), ("float16", "float32"), ("fp8", "bfloat16")),
        *(("int8", "bfloat16"), ("int4", "int8"), ("fp4", "fp8")),
    ):
        peaks = row.flops_per_s
        if {narrow, wide} <= peaks.keys() and not (narrow == "int8" and row.name in SLOW_INT8):
            assert peaks[narrow] >= peaks[wide], (narrow, wide)


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
        ("a100 pcie", "A100-PCIe-80GB"),
        ("h100_pcie", "H100-PCIe"),
        ("H100-SXM5", "H100"),
        ("rtx4090", "RTX-4090"),
        ("GeForce RTX 4070 Laptop GPU", "RTX-4070-Laptop"),
        ("rtx 4060 mobile", "RTX-4060-Laptop"),
        ("AMD-Instinct-MI325X-OAM", "MI325X"),
        ("TPU-V5LITEPOD", "TPU-v5e"),
        ("gaudi3", "Gaudi-3"),
    ],
)
def test_a_gpu_is_found_by_name_alias_and_driver_name(name: str, row: str) -> None:
    assert gpu(name) is GPUS[row]


def test_every_alias_leads_to_a_row() -> None:
    for alias, name in ALIASES.items():
        assert gpu(alias) is GPUS[name]


def test_an_unknown_gpu_is_refused_with_the_close_one() -> None:
    with pytest.raises(UnknownName, match=r"unknown hardware 'H10O'\. Did you mean H100") as caught:
        gpu("H10O")
    assert "--hardware FILE" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["RTX 4090 D", "RTX 4090 Laptop GPU", "V100", "RTX PRO 6000", "H800 PCIe", "A16", "MI308X"],
)
def test_a_part_that_only_looks_like_one_of_ours_is_not_taken_for_it(name: str) -> None:
    with pytest.raises(UnknownName):
        gpu(name)


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
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", 9728, None),
        ("NVIDIA A100-SXM-64GB", 65536, "A100-64GB"),
        ("NVIDIA A100-PCIE-40GB", 40960, "A100-PCIe-40GB"),
        ("NVIDIA A100 80GB PCIe", 81920, "A100-PCIe-80GB"),
        ("NVIDIA H100 PCIe", 81559, "H100-PCIe"),
        ("NVIDIA H100 NVL", 95830, "H100-NVL"),
        ("NVIDIA H200 NVL", 143771, "H200-NVL"),
        ("NVIDIA H800", 81559, "H800"),
        ("NVIDIA H800 PCIe", 81559, None),
        ("NVIDIA H20", 97871, "H20"),
        ("NVIDIA H20-3e", 143771, "H20-3e"),
        ("NVIDIA GH200 480GB", 97871, "GH200"),
        ("NVIDIA GH200 144G HBM3e", 146831, "GH200-144GB"),
        ("NVIDIA GH200 144G HBM3e", 97871, None),
        ("NVIDIA B300 SXM6 AC", 275040, "B300"),
        ("NVIDIA GB200", 189471, "GB200"),
        ("NVIDIA GB300", 284208, "GB300"),
        ("NVIDIA L4", 23034, "L4"),
        ("NVIDIA L40", 46068, "L40"),
        ("NVIDIA L40S", 46068, "L40S"),
        ("Tesla V100-SXM2-32GB", 32510, "V100-32GB"),
        ("Tesla V100-SXM2-16GB", 16160, "V100-16GB"),
        ("Tesla V100-PCIE-32GB", 32510, None),
        ("NVIDIA GeForce RTX 4090", 24564, "RTX-4090"),
        ("NVIDIA GeForce RTX 4090 D", 24564, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", 16376, None),
        ("NVIDIA GeForce RTX 4060", 8188, None),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", 8188, "RTX-4060-Laptop"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, "RTX-PRO-6000-SE"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", 97887, "RTX-PRO-6000-MQ"),
        ("NVIDIA RTX 6000 Ada Generation", 49140, "RTX-6000-Ada"),
        ("AMD Instinct MI325X", 262128, "MI325X"),
        ("AMD Instinct MI355X", 294896, "MI355X"),
        ("CPU", 16384, None),
        ("", 0, None),
    ],
)
def test_a_device_is_detected_only_where_a_row_describes_it(
    name: str, memory_mib: int, row: str | None
) -> None:
    assert detect_name(name, memory_mib * MIB) == row


def test_words_of_a_name_are_matched_whole() -> None:
    assert named_within("T4", "Tesla T4")
    assert named_within("RTX-PRO-5000", "NVIDIA RTX PRO 5000 Blackwell")
    assert not named_within("T4", "NVIDIA T400")


def test_the_fast_link_of_a_rack_joins_more_than_a_node_and_that_of_a_bridge_fewer() -> None:
    assert gpu("GB200").link(72) == gpu("GB200").intra_node
    assert gpu("GB200").link(73) == gpu("GB200").inter_node
    assert gpu("H100-NVL").link(2) == gpu("H100-NVL").intra_node
    assert gpu("H100-NVL").link(4) == gpu("H100-NVL").inter_node


def test_a_link_that_no_datasheet_tells_is_refused_and_a_single_gpu_needs_none() -> None:
    laptop = gpu("RTX-4060-Laptop")
    assert laptop.link(1).latency_s == 0
    with pytest.raises(BadValue, match="intra_node_bytes_per_s of RTX-4060-Laptop"):
        laptop.link(2)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("V100", "V100-16GB or V100-32GB"),
        ("RTX PRO 6000", "RTX-PRO-6000-SE or RTX-PRO-6000-WS or RTX-PRO-6000-MQ"),
        ("NVIDIA GeForce RTX 4090 D", "RTX-4090"),
        ("AMD Instinct MI300X VF", "MI300X"),
        ("8x H100", "H100"),
        ("DGX B200", "B200"),
    ],
)
def test_a_name_that_no_row_has_is_refused_with_those_that_are_much_like_it(
    name: str, meant: str
) -> None:
    with pytest.raises(UnknownName, match=f"Did you mean {meant}"):
        gpu(name)


@pytest.mark.parametrize(
    "name", ["H100 (80GB)", "h100_sxm", "A100 (80 GB)", "NVIDIA-H100-80GB-HBM3"]
)
def test_brackets_and_separators_do_not_tell_parts_apart(name: str) -> None:
    assert gpu(name).name in ("H100", "A100-80GB")
