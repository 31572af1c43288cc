"""What servers chose by themselves: arms that differ in it are warned of."""

import numpy as np
import pandas as pd
import pytest

from analysis.anova import AnovaModel, anova
from analysis.compare import compare
from analysis.report.group import group_of
from orchestrator.results.condition import with_configuration
from orchestrator.results.quantities import CHOICES, role_of


def arms(**columns: dict[str, object]) -> pd.DataFrame:
    """Two arms in eight blocks; a column holds a value for each arm."""
    noise = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "model": "m", "workload": "w", "max_concurrency": 8, "strategy": strategy,
                "block": block, "verdict": "valid", "provenance": "measured",
                "output_throughput": 100 * np.exp(noise.normal(0, 0.01)),
                **{name: values.get(strategy) for name, values in columns.items()},
            }
            for strategy in ("tp", "ep")
            for block in range(8)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("column", ["moe_backend", "kv_cache_dtype", "launch_env"])
def test_arms_that_chose_differently_are_warned_of_and_still_compared(column: str) -> None:
    found = compare(arms(**{column: {"tp": "A", "ep": "B"}}))
    (contrast,) = found.contrasts
    assert contrast.confounded_by == (column,)
    assert contrast.pairs == 8
    assert any(f"ran with {column} B, tp with A" in note for note in found.notes)


def test_numbers_and_switches_are_choices_too() -> None:
    rows = arms(
        max_num_batched_tokens={"tp": 8192, "ep": 2048}, cuda_graphs={"tp": "on", "ep": "on"}
    )
    (contrast,) = compare(rows).contrasts
    assert contrast.confounded_by == ("max_num_batched_tokens",)


def test_what_only_one_of_two_layouts_has_is_no_warning_and_two_that_differ_are() -> None:
    alone = arms(all2all_backend={"ep": "AgRs"}, all_reduce={"tp": "CUSTOM"})
    assert compare(alone).contrasts[0].confounded_by == ()
    both = arms(all_reduce={"tp": "CUSTOM", "ep": "PYNCCL"})
    assert compare(both).contrasts[0].confounded_by == ("all_reduce",)


def test_a_kernel_that_one_arm_does_not_tell_is_warned_of() -> None:
    assert compare(arms(moe_backend={"tp": "TRITON"})).contrasts[0].confounded_by == (
        "moe_backend",
    )


@pytest.mark.slow
def test_the_report_and_the_analysis_of_variance_say_it_too() -> None:
    rows = arms(moe_backend={"tp": "TRITON", "ep": "FLASHINFER"})
    rows["max_concurrency"] = rows["block"] % 2 * 8 + 8
    rows["block"] //= 2
    said = group_of(rows, "measured", None, 0.03).notes
    assert any("moe_backend" in note for note in said)
    factors = AnovaModel(factors=("max_concurrency", "strategy"))
    assert any("moe_backend" in note for note in anova(rows, factors).notes)


def test_the_same_layout_with_another_kernel_is_another_condition() -> None:
    rows = arms(moe_backend={"tp": "TRITON", "ep": "TRITON"})
    other = rows.assign(moe_backend="CUTLASS")
    found = compare(pd.concat([rows, other], ignore_index=True))
    assert len(found.contrasts) == 2
    made = with_configuration([{"model": "m", "moe_backend": name} for name in ("A", "B")])
    assert made[0]["configuration"] != made[1]["configuration"]
    assert "MoE kernel A" in str(made[0]["configuration_text"])


def test_every_choice_is_part_of_a_condition() -> None:
    assert {role_of(name) for name in CHOICES} == {"condition"}
