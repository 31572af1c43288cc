"""Bytes, operations and combinations, counted by hand."""

import pytest

from catalog.errors import BadValue, UnknownName
from microbench.grid import ON_A_CPU, ON_A_GPU, QUICK, SweepGrid, complete, points
from microbench.point import Point, dtype_of

PAPER = Point(
    batch=128, hidden=2048, intermediate=6144, experts=128, active_experts=128, top_k=8,
    dtype="bfloat16",
)  # fmt: skip


def test_an_expert_s_bytes_are_those_of_its_three_matrices() -> None:
    narrow = Point(
        batch=8, hidden=2048, intermediate=512, experts=128, active_experts=64, top_k=8,
        dtype="bfloat16",
    )  # fmt: skip
    assert narrow.expert_bytes == 3 * 2048 * 512 * 2 == 6_291_456
    assert PAPER.expert_bytes == 75_497_472
    assert PAPER.weight_bytes(128) == 128 * 75_497_472


def test_operations_count_every_pair_of_token_and_expert() -> None:
    assert PAPER.flops == 128 * 8 * 2 * 3 * 2048 * 6144
    assert PAPER.flops == pytest.approx(77e9, rel=0.01)


def test_bytes_and_operations_are_those_of_the_step_model() -> None:
    from catalog.from_hf import load_model
    from perfmodel.shard import shard

    model = load_model("mixtral")
    part = shard(model, tp=1)
    point = Point(
        batch=1, hidden=4096, intermediate=14336, experts=8, active_experts=2, top_k=2,
        dtype="bfloat16",
    )  # fmt: skip
    assert point.expert_bytes == part.expert_bytes
    assert point.flops == 2 * part.expert_flops


@pytest.mark.parametrize(
    ("name", "value"), [("batch", 0), ("hidden", -1), ("active_experts", 129), ("top_k", 129)]
)
def test_sizes_that_cannot_be_are_refused(name: str, value: int) -> None:
    sizes = {field: getattr(PAPER, field) for field in PAPER.__struct_fields__}
    with pytest.raises(BadValue):
        Point(**{**sizes, name: value})


def test_data_types_have_short_names_and_slips_are_pointed_out() -> None:
    assert dtype_of("bf16") == dtype_of("torch.bfloat16") == "bfloat16"
    with pytest.raises(UnknownName, match="bfloat16"):
        dtype_of("bfloat61")


def test_a_batch_keeps_no_more_experts_active_than_it_has_choices() -> None:
    grid = SweepGrid(batch=(8, 64), active_experts=(16, 32), top_k=(2,), experts=(32,))
    found, left_out = points(complete(grid, QUICK))
    shapes = {(point.batch, point.active_experts) for point in found}
    assert shapes == {(8, 16), (64, 16), (64, 32)}
    assert left_out == 3  # batch 8 with 32 experts, at three widths


def test_an_unreachable_sweep_is_refused_with_the_number() -> None:
    grid = SweepGrid(batch=(1,), top_k=(2,), active_experts=(8,), experts=(8,))
    with pytest.raises(BadValue, match="up to 2"):
        points(complete(grid, ON_A_CPU))


def test_defaults_go_with_what_was_given() -> None:
    few = complete(SweepGrid(experts=(2,)), ON_A_CPU)
    assert few.top_k == (1,)
    many = complete(SweepGrid(active_experts=(64,)), ON_A_CPU)
    assert many.experts == (64,)
    assert all(point.top_k == 8 for point in points(complete(SweepGrid(top_k=(8,)), ON_A_CPU))[0])


def test_the_default_on_a_gpu_is_the_published_sweep() -> None:
    found, _ = points(complete(SweepGrid(), ON_A_GPU))
    assert {point.batch for point in found} == {8, 16, 32, 64, 128}
    assert {point.hidden for point in found} == {2048}
    assert {512, 6144} <= {point.intermediate for point in found}


def test_too_many_combinations_are_refused_before_they_are_listed() -> None:
    long = tuple(range(1, 1001))
    with pytest.raises(BadValue, match="combinations"):
        points(complete(SweepGrid(batch=long, hidden=long, intermediate=long), QUICK))
