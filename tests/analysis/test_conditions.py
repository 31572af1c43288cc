"""Rows that differ in anything but measurements share no average, pair or replicate number."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.compare import ComparisonSpec, compare
from analysis.data.conditions import Pooling, kept_apart, refuse_mixed
from analysis.data.where import where
from analysis.plots.kinds import drawing
from analysis.predict.read import read_cases
from analysis.report.write import report_html
from analysis.tables.paper_tables import tables
from catalog.errors import BadFile, BadValue, UnknownName

LABELS: dict[str, tuple[Any, Any]] = {
    "tag": ("pd_intra", "pd_inter"),
    "framework": ("vllm", "sgl"),
    "max_num_seqs": (4, 8),
    "engine_version": ("0.24", "0.25"),
    "gpu_memory_utilization": (0.9, 0.95),
    "server_args": ("", "--enforce-eager"),
    "gpu_type": ("", "H100"),
}


def two_systems(column: str = "tag", *, lost: int | None = None) -> pd.DataFrame:
    """Two systems, tp and ep in four blocks each: ep is 10 % better on one, worse on the other."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "model": "OLMoE-1B-7B", "workload": "w", "max_concurrency": 8, "block": block,
            "strategy": strategy, "provenance": "measured", column: system,
            "output_throughput": level * (gain if strategy == "ep" else 1)
            * np.exp(rng.normal(0, 0.005)),
        }
        for system, level, gain in zip(LABELS[column], (1000, 2500), (1.1, 0.9), strict=True)
        for block in range(4)
        for strategy in ("tp", "ep")
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame if lost is None else frame.drop(index=lost).reset_index(drop=True)


@pytest.mark.parametrize("column", LABELS)
@pytest.mark.parametrize("lost", [None, 0, 2])
def test_two_systems_never_share_a_pair_whatever_tells_them_apart(
    column: str, lost: int | None
) -> None:
    found = compare(two_systems(column, lost=lost), ComparisonSpec(by=("model",)))
    ratios = [contrast.ratio.value for contrast in found.contrasts]
    assert sorted(ratios) == pytest.approx([0.9, 1.1], rel=0.02)
    assert any(f"rows differ in {column}" in note for note in found.notes)


@pytest.mark.parametrize("column", LABELS)
def test_two_systems_never_share_a_cell_of_a_table(column: str) -> None:
    (table, _) = tables(two_systems(column))
    assert len(table.rows) == 2
    values = sorted(cells[0].value or 0.0 for _, cells in table.rows)
    assert values == pytest.approx([1000, 2500], rel=0.02)


def test_the_order_of_rows_makes_no_pair() -> None:
    rows = two_systems().query("tag == 'pd_intra'").drop(columns="block")
    found = compare(rows)
    assert found.contrasts[0].pairs == 1
    assert any("never paired by the order of rows" in note for note in found.notes)


def test_a_block_of_another_file_is_another_block() -> None:
    first = two_systems().query("tag == 'pd_intra'")
    again = first.assign(output_throughput=first["output_throughput"] * 1.5)
    both = pd.concat([first.assign(source_file="a"), again.assign(source_file="b")])
    lost = both.iloc[1:].reset_index(drop=True)
    assert compare(lost).contrasts[0].pairs == 7
    assert compare(lost).contrasts[0].ratio.value == pytest.approx(1.1, rel=0.02)


def test_arms_that_differ_in_more_than_the_strategy_say_so_beside_the_claim() -> None:
    rows = two_systems("gpu_type").replace({"gpu_type": {"": "A100-80GB"}})
    apart = rows[(rows["strategy"] == "tp") == (rows["gpu_type"] == "H100")]
    (contrast,) = compare(apart).contrasts
    assert contrast.confounded_by == ("gpu_type",)
    assert contrast.row()["confounded_by"] == "gpu_type"


def test_what_only_names_the_arm_splits_nothing() -> None:
    rows = two_systems().query("tag == 'pd_intra'")
    named = rows.assign(source=rows["strategy"] + "_run" + rows["block"].astype(str) + ".json")
    assert kept_apart(named.drop(columns="output_throughput")) == ()
    assert compare(named).contrasts[0].pairs == 4


def test_a_column_that_is_pooled_or_asked_for_must_be_there() -> None:
    with pytest.raises(UnknownName, match="tagg"):
        kept_apart(two_systems(), Pooling(pool=("tagg",)))


@pytest.mark.slow
def test_figures_and_the_page_keep_systems_apart_and_say_so() -> None:
    made = drawing(two_systems(), "throughput")
    assert len([axes for axes in made.figure.axes if axes.has_data()]) == 2
    assert any("rows differ in tag" in note for note in made.notes)
    page = report_html(two_systems())
    assert "OLMoE-1B-7B · tag pd_intra" in page


def test_the_predictor_refuses_to_average_systems() -> None:
    rows = two_systems().assign(
        input_len=128, output_len=16, num_prompts=64, gpu_type="A100-80GB", verdict="valid"
    )
    with pytest.raises(BadFile, match=r"differ in tag .*--where tag=.*--pool tag"):
        read_cases(rows)
    assert read_cases(rows, pool=("tag",)).count == 1


def test_a_hint_with_spaces_in_a_name_or_value_can_be_pasted_into_a_shell() -> None:
    frame = two_systems("gpu_type").rename(columns={"gpu_type": "GPU type"})
    with pytest.raises(BadFile, match=r"--where 'GPU type=', .*or --pool 'GPU type'"):
        refuse_mixed(frame, kept_apart(frame), ways="--factor")


def test_rows_are_picked_by_value_number_or_name_of_a_layout() -> None:
    rows = two_systems("max_num_seqs")
    assert set(where(rows, ["max_num_seqs=8"])["max_num_seqs"]) == {8}
    assert set(where(rows, ["strategy=tp2"])["strategy"]) == {"tp"}
    assert len(where(rows, ["strategy=tp,ep"])) == len(rows)
    with pytest.raises(UnknownName, match="strategy"):
        where(rows, ["strategy=dp8"])
    with pytest.raises(BadValue, match="COLUMN=VALUE"):
        where(rows, ["strategy"])
