"""Which points are measured, and what is refused before a model is loaded."""

import msgspec
import pytest

from catalog.errors import BadValue, Infeasible
from catalog.model_table import MODELS
from diffusion_study.grid import PAPER_POINTS, DiffusionGrid, points
from servers.huggingface.diffusion.memory import check_memory, needed_bytes
from servers.huggingface.diffusion.options import DiffusionOptions

# Table VII of the parallelism paper: configuration, dense and MoE tokens per second.
TABLE_VII = (
    (99.1, 10.1),
    (49.5, 4.9),
    (24.3, 2.5),
    (24.8, 2.6),
    (50.6, 5.0),
    (96.1, 9.9),
)


@pytest.mark.parametrize(("column", "pass_s"), [(0, 0.0406), (1, 0.399)], ids=["dense", "moe"])
def test_the_six_points_give_the_published_table_one_time_a_pass(
    column: int, pass_s: float
) -> None:
    found = [
        point.length / (point.steps * row[column])
        for point, row in zip(PAPER_POINTS, TABLE_VII, strict=True)
    ]
    assert found == pytest.approx([pass_s] * 6, rel=0.045)


def test_two_lists_are_multiplied_and_one_keeps_the_centre() -> None:
    assert points((), ()) == PAPER_POINTS
    assert [(p.steps, p.length) for p in points((32, 64), (64, 128))] == [
        (32, 64), (32, 128), (64, 64), (64, 128),
    ]  # fmt: skip
    assert [(p.steps, p.length) for p in points((8,), ())] == [(8, 128)]
    assert [(p.steps, p.length) for p in points((), (256,))] == [(64, 256)]


def test_the_plain_decoder_comes_first_and_a_dense_model_once() -> None:
    grid = DiffusionGrid(points=PAPER_POINTS, kv_caches=("none", "block"), commit_above=(None, 0.9))
    dense = list(grid.options(MODELS["tiny-llada"], PAPER_POINTS[0]))
    moe = list(grid.options(MODELS["tiny-llada-moe"], PAPER_POINTS[0]))
    assert (len(dense), len(moe)) == (4, 12)
    assert [each.experts for each in moe[:3]] == ["loop", "batched", "grouped"]
    assert moe[0].kv_cache == "none"
    assert moe[0].commit_above is None


def test_the_published_grid_fits_the_published_models_on_an_a100() -> None:
    grid = DiffusionGrid(points=PAPER_POINTS)
    for name in ("LLaDA-8B", "LLaDA-MoE-7B"):
        grid.check(MODELS[name], available_bytes=80e9)
        with pytest.raises(Infeasible):  # 8 and 7 billion parameters in 16 bits
            grid.check(MODELS[name], available_bytes=12e9)


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        (
            DiffusionGrid(points=points((96,), (128,)), block_length=48),
            "a multiple of the block length 48",
        ),
        (DiffusionGrid(points=points((30,), (128,))), "a multiple of 4"),
        (DiffusionGrid(points=PAPER_POINTS, prompt_length=2000), "2048 with the answer of 128"),
        (DiffusionGrid(points=PAPER_POINTS, prompt_length=0), "1 or more"),
        (DiffusionGrid(points=PAPER_POINTS, repeats=0), "1 to 10000"),
    ],
)
def test_what_cannot_be_measured_is_refused(grid: DiffusionGrid, told: str) -> None:
    with pytest.raises(BadValue, match=told):
        grid.check(MODELS["tiny-llada-moe"])


def test_a_length_too_large_for_the_memory_is_refused_with_both_numbers() -> None:
    model = msgspec.structs.replace(MODELS["tiny-llada-moe"], max_context=10**9)
    grid = DiffusionGrid(points=points((1,), (10**7,)), block_length=10**7)
    with pytest.raises(Infeasible, match=r"10000032 tokens needs about .* GiB .* are free here"):
        grid.check(model, available_bytes=2**34)
    with pytest.raises(Infeasible, match=r"weights 14.9 GiB"):
        check_memory(MODELS["LLaDA-8B"], DiffusionOptions(), 160, available_bytes=2**33)


def test_a_cache_and_a_longer_answer_need_more() -> None:
    model = MODELS["LLaDA-MoE-7B"]
    plain = needed_bytes(model, DiffusionOptions(), 160)
    assert needed_bytes(model, DiffusionOptions(), 320) > plain
    cached = needed_bytes(model, DiffusionOptions(kv_cache="prefix"), 160)
    assert cached - plain == model.kv_elements_per_token * 160 * 2
