"""Rows of GPUs as files hold them: what is read, what is refused and how, and their hash."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from catalog.gpu_row import HASHED_NAME, RANGES, GpuRow, gpu_from, row_from, row_of
from catalog.hardware_table import GPUS

LEAST: dict[str, Any] = {
    "hardware": "My-GPU",
    "memory_bytes": 48e9,
    "bandwidth_bytes_per_s": 900e9,
    "bfloat16_flops_per_s": 180e12,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def rows() -> st.SearchStrategy[dict[str, Any]]:
    """Rows whose figures lie anywhere that is allowed."""
    figures = {
        name: st.none()
        | (st.integers(1, 64) if name.startswith("gpus_") else st.floats(least, most))
        for name, (least, most, _) in RANGES.items()
        if name not in LEAST and not name.startswith(("intra_", "inter_"))
    }
    return st.fixed_dictionaries({name: st.just(value) for name, value in LEAST.items()} | figures)


@pytest.mark.slow
@given(rows())
def test_every_row_within_the_ranges_is_read_and_comes_back_from_its_gpu(
    row: dict[str, Any],
) -> None:
    read = row_from(row)
    mine = gpu_from(read, file="mine.yaml")
    assert row_of(mine).own_name == read.own_name == mine.name
    assert HASHED_NAME.fullmatch(mine.name)
    assert gpu_from(row_of(mine), file="mine.yaml") == mine


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(GpuRow.__struct_fields__) | st.text(), JSON) | JSON)
def test_whatever_a_file_holds_is_read_or_refused_in_one_short_line(document: object) -> None:
    try:
        row_from(document)
    except BadValue as error:
        assert len(str(error)) < 1200
        assert re.search("allowed: .", str(error))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"memory_bytes": -1}, "memory_bytes: got -1.0, allowed: bytes: 100 MB to 100 TB"),
        ({"memory_bytes": 0}, "memory_bytes: got 0.0"),
        ({"memory_bytes": 80}, "memory_bytes: got 80.0, allowed: bytes"),
        ({"memory_bytes": float("nan")}, "memory_bytes: got nan"),
        ({"memory_bytes": True}, "memory_bytes: got True"),
        ({"memory_bytes": "lots"}, "memory_bytes: got 'lots'"),
        ({"memory_bytes": [1]}, r"memory_bytes: got \[1\]"),
        ({"memory_bytes": None}, "memory_bytes: got None, .*it is missing"),
        ({"bandwidth_bytes_per_s": 3.35}, "bandwidth_bytes_per_s: got 3.35"),
        ({"bandwidth_bytes_per_s": float("inf")}, "bandwidth_bytes_per_s: got inf"),
        ({"bfloat16_flops_per_s": 989}, "bfloat16_flops_per_s: got 989.0, .*without sparsity"),
        ({"bfloat16_flops_per_s": None}, "bfloat16_flops_per_s: got None, allowed: it or float16"),
        ({"intra_node": "NVLink"}, "intra_node_bytes_per_s: got None, .* beside 'NVLink'"),
        ({"intra_node_bytes_per_s": 1e9}, "gpus_per_node: got None"),
        ({"gpus_per_node": 2.5}, "gpus_per_node: got 2.5, allowed: 1 to 4096 GPUs"),
        ({"gpus_per_node": 0}, "gpus_per_node: got 0"),
        ({"inter_node_latency_s": 5}, "inter_node_latency_s: got 5.0, allowed: seconds"),
        ({"price_per_hour_usd": -2}, "price_per_hour_usd: got -2.0"),
        ({"hardware": ""}, "hardware: got ''"),
        ({"hardware": "A#1"}, "hardware: got 'A#1', allowed: letters"),
        ({"hardware": 7}, "hardware: got 7, allowed: text"),
        ({"aliases": [1]}, r"aliases: got \[1\], allowed: a list of names"),
        ({"memory_byte": 1}, "field: got 'memory_byte', allowed: did you mean memory_bytes"),
        ({"flops": 1}, "field: got 'flops', allowed: .*fields are hardware, memory_bytes"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_with_its_field(
    change: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadValue, match=told):
        row_from(LEAST | change)


@pytest.mark.parametrize("size", ["48e9", "48 GB", "48GB", 48_000_000_000, 48e9])
def test_a_size_may_carry_a_unit_and_yaml_reads_exponents_as_text(size: object) -> None:
    assert row_from(LEAST | {"memory_bytes": size}).memory_bytes == 48e9
    assert row_from(LEAST | {"bandwidth_bytes_per_s": "0.9 TB/s"}) == row_from(LEAST)


def test_the_hash_is_of_the_numbers_alone() -> None:
    plain = row_from(LEAST).digest
    said = {"price_per_hour_usd": 3, "source": "x", "aliases": "m", "driver_names": ["NVIDIA M"]}
    assert row_from(LEAST | said).digest == plain
    assert row_from(LEAST | {"hardware": "Other"}).digest == plain
    assert row_from(LEAST | {"gpus_per_node": 1}).digest == plain
    assert row_from(LEAST | {"memory_bytes": 48e9 + 1}).digest != plain
    assert row_from(LEAST | {"fp8_flops_per_s": 360e12}).digest != plain
    assert (
        row_from(LEAST | {"int8_flops_per_s": 360e12}).digest
        != row_from(LEAST | {"fp8_flops_per_s": 360e12}).digest
    )


def test_a_row_of_ours_can_be_taken_renamed_and_changed() -> None:
    shown = msgspec.to_builtins(row_of(GPUS["H100"])) | {"file": None, "aliases": "A1, A2"}
    mine = row_from(shown | {"hardware": "H100-capped", "bfloat16_flops_per_s": 700e12})
    assert mine.aliases == ("A1", "A2")
    assert gpu_from(mine, file="f").intra_node == GPUS["H100"].intra_node


def test_a_users_row_bounds_no_type_that_it_leaves_out() -> None:
    mine = gpu_from(row_from(LEAST), file="mine.yaml")
    assert mine.most_flops_per_s("bfloat16") == mine.most_flops_per_s("float16") == 180e12
    assert mine.most_flops_per_s("fp8") == float("inf")
    assert mine.peak_flops_per_s("fp8") == 180e12
    assert GPUS["A100-80GB"].most_flops_per_s("fp8") == 312e12
