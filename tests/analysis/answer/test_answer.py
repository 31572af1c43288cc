"""The answer of a study: winners are shown, ties are named, doubt is said, a way on is given."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.answer.answer import Answer, answers, next_command
from analysis.answer.firsts import FIRST_TOKEN, firsts
from analysis.compare import ComparisonSpec, compare
from analysis.report.write import report_html
from analysis.statistics.contrast import Rule, planned_runs
from catalog.errors import BadFile

LOADS = (1, 8, 64)


def runs(
    ratios: dict[str, float | tuple[float, ...]],
    *,
    replicates: int = 6,
    noise: float = 0.004,
    seed: int = 0,
    **columns: Any,
) -> pd.DataFrame:
    """Runs of layouts whose throughput is so much of tp's, at every load or load by load."""
    rng, rows = np.random.default_rng(seed), []
    for name, ratio in ratios.items():
        by_load = ratio if isinstance(ratio, tuple) else (ratio,) * len(LOADS)
        for load, factor in zip(LOADS, by_load, strict=True):
            rows += [
                {
                    "run_id": f"{name}.{load}.{block}",
                    "provenance": "measured",
                    "verdict": "valid",
                    "verdict_reasons": "",
                    "model": "m",
                    "strategy": name,
                    "num_gpus": 4 if "+" in name else 2,
                    "gpu_type": "H100",
                    "workload": "w",
                    "max_concurrency": load,
                    "block": block,
                    "output_throughput": 100 * load * factor * np.exp(rng.normal(0, noise)),
                    "server_group": f"{name}.{block}",
                }
                for block in range(replicates)
            ]
    return pd.DataFrame(rows).assign(**columns)


def only(frame: pd.DataFrame, **spec: Any) -> Answer:
    (found,) = answers(frame, ComparisonSpec(**spec))
    return found


def test_a_layout_that_is_shown_to_lead_is_named_with_its_gpus_lead_and_interval() -> None:
    found = only(runs({"tp": 1.0, "ep": 1.2}))
    assert re.match(
        r"use ep \(2 × H100\): \+20 % tokens/s over tp \(2 × H100\) \(95 % interval \+",
        found.headline,
    )
    assert "shown to lead (by more than 3 % in the mean) in 3 of 3 conditions" in found.sure


@pytest.mark.slow
@pytest.mark.parametrize("lead", [1.0, 1.01, 1.02, 1.025])
def test_a_lead_inside_the_margin_is_a_tie_however_sure_it_is(lead: float) -> None:
    found = only(runs({"tp": 1.0, "ep": lead}, noise=0.0005))
    assert found.choice is not None
    assert found.choice.kind == "tie"
    assert found.headline.endswith("within 3 % of each other")
    assert {"tp", "ep"} == set(found.choice.layouts)


def test_a_lead_inside_its_interval_is_open_and_nobody_is_to_be_used() -> None:
    found = only(runs({"tp": 1.0, "ep": 1.06}, noise=0.15, seed=3))
    assert found.choice is not None
    assert found.choice.kind == "open"
    assert "which is better is open" in found.headline
    assert "use " not in found.headline


def test_where_it_depends_each_layout_has_its_loads_and_its_lead() -> None:
    found = only(runs({"tp": 1.0, "ep": (0.7, 1.0, 1.5)}))
    assert found.headline.startswith("it depends on the load: tp (2 × H100) at concurrency 1, +4")
    assert "ep (2 × H100) at concurrency 8;" in found.headline
    assert "ep at concurrency 64, +5" in found.headline


def test_a_lead_that_one_condition_outweighs_is_no_layout_to_use() -> None:
    rows = runs({"tp": 1.0, "ep": 1.1})
    odd = (rows["strategy"] == "tp") & (rows["max_concurrency"] == 1) & (rows["block"] == 5)
    rows.loc[odd, "output_throughput"] *= 10
    found = only(rows)
    assert found.headline.startswith("no layout is shown to be best; ep (2 × H100) is nowhere")
    assert "in 2 of 3 conditions, open in 1" in found.sure


def test_single_runs_name_who_is_ahead_but_claim_nothing() -> None:
    found = only(runs({"tp": 1.0, "ep": 1.3}, replicates=1))
    assert found.headline.startswith("ep (2 × H100) is ahead, in single runs: +")
    assert f"plan {planned_runs(Rule())} replicates" in found.sure


def test_two_to_five_replicates_are_decided_by_their_interval_which_is_said() -> None:
    found = only(runs({"tp": 1.0, "ep": 1.3}, replicates=5))
    assert found.headline.startswith("use ep")
    assert "by t-interval of 5 pairs, too few for the exact test, which needs 6" in found.sure
    assert "t-interval" not in only(runs({"tp": 1.0, "ep": 1.3})).sure


def test_every_advice_names_one_number_of_replicates() -> None:
    few = runs({"tp": 1.0, "ep": 1.3, "single": 0.5}, replicates=1)
    wanted = {int(n) for n in re.findall(r"plan (\d+)", only(few).sure)}
    contrasts = compare(few).contrasts
    wanted |= {c.runs_needed for c in contrasts if c.runs_needed}
    wanted |= {int(n) for c in contrasts for n in re.findall(r"plan (\d+)", c.reason)}
    assert wanted == {planned_runs(Rule())}


@pytest.mark.slow
def test_no_further_runs_are_asked_for_where_the_interval_excludes_the_margin() -> None:
    for seed in range(30):
        for contrast in compare(runs({"tp": 1.0, "ep": 1.2}, noise=0.08, seed=seed)).contrasts:
            if contrast.ratio.low is not None and contrast.ratio.low > 1.03:
                assert contrast.runs_needed is None


def test_layouts_on_other_gpus_are_told_apart_per_gpu() -> None:
    rows = runs({"tp": 1.0, "tp+ep": 1.5})
    per_gpu = rows.assign(output_throughput_per_gpu=rows["output_throughput"] / rows["num_gpus"])
    found = only(per_gpu)
    assert found.headline.startswith("use tp+ep (4 × H100): +50 % tokens/s over tp (2 × H100)")
    assert "per GPU tp is first in 3 of 3 conditions, shown in 3" in found.doubts


def test_a_model_says_that_it_is_one_and_what_it_cannot_tell_apart() -> None:
    near = only(runs({"tp": 1.0, "ep": 1.03}, replicates=1, noise=0, provenance="simulated"))
    assert near.headline == (
        "by the model, ep (2 × H100) or tp (2 × H100): within 3.6 % of each other"
    )
    far = only(runs({"tp": 1.0, "ep": 1.2}, replicates=1, noise=0, provenance="simulated"))
    assert far.headline == "by the model, use ep (2 × H100): +20 % tokens/s over tp (2 × H100)"
    assert "a model says so, not a GPU" in far.sure


def test_one_layout_alone_is_answered_by_its_capacity() -> None:
    rows = runs({"as served": 1.0}, mean_e2el_ms=500.0)
    limits = {"goodput_limits": "ttft:200", "slo_target": 0.99, "completed": 100, "failed": 0}
    rows = rows.assign(
        **limits, good_requests=[100 if load < 64 else 50 for load in rows["max_concurrency"]]
    )
    headline = only(rows).headline
    assert "highest load within ttft:200 for 0.99 of requests: 8 concurrent requests" in headline
    assert "knee" in headline


def test_a_layout_that_no_file_names_is_said_to_be_none_of_the_named() -> None:
    rows = runs({"": 1.0}, replicates=1)
    assert "capacity of m unnamed layout w:" in only(rows).headline
    one = only(rows[rows["max_concurrency"] == 1]).headline
    assert one.startswith("only unnamed layout was run, at one load")
    assert "Only unnamed layout was run" in report_html(rows[rows["max_concurrency"] == 1])


def test_a_load_at_which_no_run_is_valid_is_no_highest_load_that_was_tried() -> None:
    rows = runs({"as served": 1.0}, mean_e2el_ms=500.0, good_requests=100, completed=100, failed=0)
    rows = rows.assign(goodput_limits="ttft:200", slo_target=0.99)
    rows.loc[rows["max_concurrency"] == 64, ["verdict", "verdict_reasons"]] = ["invalid", "ERRORS"]
    found = only(rows)
    assert "6 runs that are not valid are left out" in found.headline
    assert found.doubts == ("6 of 18 runs left out: ERRORS 6",)


def test_techniques_are_arms_whose_quality_is_not_part_of_the_answer() -> None:
    plain, fast = runs({"tp": 1.0, "ep": 0.8}), runs({"tp": 1.5}, seed=1).assign(run_id="")
    both = pd.concat([plain.assign(technique="none"), fast.assign(technique="fp8")])
    found = only(both.reset_index(drop=True))
    assert found.headline.startswith("use tp · fp8 (2 × H100): +50 % tokens/s over tp (2 × H100)")
    assert "techniques differ in quality too, which is no part of this" in found.doubts


def test_runs_that_do_not_count_are_counted_with_their_reasons() -> None:
    rows = runs({"tp": 1.0, "ep": 1.3})
    rows.loc[:3, ["verdict", "verdict_reasons"]] = ["invalid", "CLIENT_LIMITED"]
    assert "4 of 36 runs left out: CLIENT_LIMITED 4" in only(rows).doubts
    none = rows.assign(verdict="failed", verdict_reasons="SERVER_MISSING")
    assert only(none).headline == "no answer, none of 36 runs is valid"


def test_a_table_without_the_columns_of_an_answer_is_refused_by_name() -> None:
    with pytest.raises(BadFile, match="strategy"):
        answers(runs({"tp": 1.0}).drop(columns="strategy"))


def test_what_keeps_rows_apart_makes_answers_of_their_own() -> None:
    one = runs({"tp": 1.0, "ep": 1.3})
    other = runs({"tp": 1.0, "ep": 0.7}, gpu_type="A100-80GB").assign(run_id="")
    found = answers(pd.concat([one, other], ignore_index=True))
    assert [each.choice.layouts for each in found if each.choice] == [("tp",), ("ep",)]


def test_the_next_command_asks_for_runs_where_they_are_too_few_else_for_the_page(
    tmp_path: Path,
) -> None:
    few = answers(runs({"tp": 1.0, "ep": 1.3}, replicates=1))
    assert next_command(few, tmp_path / "x.csv") == f"moeserve report {tmp_path / 'x.csv'}"
    (tmp_path / "experiment.json").write_text("{}")
    study = tmp_path / "experiment.json"
    assert next_command(few, tmp_path) == f"moeserve run {study} -o {tmp_path} --num-runs 6"
    sure = answers(runs({"tp": 1.0, "ep": 1.3}))
    assert next_command(sure, tmp_path) == f"moeserve report {tmp_path}"


LEVEL = 0.05


@pytest.mark.slow
@example(ratios=(0.8125, 1.0, 1.25), third=1.0, noise=0.1, replicates=7, seed=658)
@settings(max_examples=25, deadline=None)
@given(
    ratios=st.tuples(*[st.floats(0.8, 1.25)] * 3),
    third=st.floats(0.8, 1.25),
    noise=st.sampled_from([0.002, 0.02, 0.1]),
    replicates=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_no_answer_claims_what_the_verdicts_of_compare_deny(
    ratios: tuple[float, float, float], third: float, noise: float, replicates: int, seed: int
) -> None:
    frame = runs(
        {"tp": 1.0, "ep": ratios, "single": third}, noise=noise, replicates=replicates, seed=seed
    )
    found = only(frame)
    assert found.choice is not None
    # `compare` with another reference counts another family: of nine pairs of layouts and loads
    # what nine times its p still shows is shown in each family, and what is shown in one has its
    # own p below the level.
    for name in found.choice.layouts if found.choice.kind in ("use", "tie") else ():
        against = compare(frame, ComparisonSpec(reference=name)).contrasts
        better = [c for c in against if c.verdict == "better" and c.ratio.value > 1.03]
        beaten = [c for c in better if c.p is not None and 9 * c.p < LEVEL]
        assert not beaten, (found.headline, beaten)
    if found.choice.kind == "use":
        against = compare(frame, ComparisonSpec(reference=found.choice.layouts[0])).contrasts
        assert any(c.ratio.value < 1 and c.p is not None and c.p < LEVEL for c in against)


def test_arms_that_never_ran_beside_each_other_have_no_lead_to_tell() -> None:
    rows = pd.DataFrame(
        {
            "model": "m", "workload": "w", "max_concurrency": 1.0, "provenance": "measured",
            "strategy": ["tp", "ep"] * 6, "replicate": [float(n // 2) for n in range(12)],
            "technique": ["fp8"] * 6 + ["none"] * 6,
            "output_throughput": [100.0 + n % 5 for n in range(12)],
        }
    )  # fmt: skip
    for answer in answers(rows):
        assert answer.headline == answer.headline.strip(": ")
        assert not answer.headline.endswith(" has")


def by_workload(**ratios: tuple[tuple[float, ...], tuple[float, ...]]) -> pd.DataFrame:
    """Estimates of layouts against tp, load by load, of short and of long prompts."""
    parts = [
        runs(
            {"tp": 1.0, **{name: ratio[place] for name, ratio in ratios.items()}},
            replicates=1,
            noise=0.0,
            provenance="simulated",
            workload=workload,
        )
        for place, workload in enumerate(("short", "long"))
    ]
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("near", [1.03, 0.98])
def test_a_tie_among_the_conditions_of_a_place_is_told_apart_from_its_leads(near: float) -> None:
    found = only(by_workload(ep=((0.8, near, 1.29), (0.8, 1.2, 1.2))))
    assert "ep (2 × H100) at concurrency 8 to 64, +20 to +29 %, a tie in 1 of 4" in found.headline


def test_a_layout_that_is_common_to_ties_alone_has_no_lead_to_be_named() -> None:
    found = only(
        by_workload(ep=((1.3, 1.03, 1.3), (1.3, 0.9, 1.3)), dp=((0.8, 0.9, 1.4), (0.8, 1.03, 1.4)))
    )
    assert "tp at concurrency 8, a tie in 2 of 2" in found.headline.replace(" (2 × H100)", "")


@pytest.mark.parametrize(
    ("provenance", "replicates", "margin"),
    [("simulated", 1, "3.6"), ("measured", 1, "3"), ("measured", 6, "3")],
)
def test_a_mean_lead_inside_the_margin_makes_no_layout_the_one_to_use(
    provenance: str, replicates: int, margin: str
) -> None:
    rates: dict[str, float | tuple[float, ...]] = {"tp": 1.0, "ep": (1.0, 1.0, 1.06)}
    found = only(runs(rates, replicates=replicates, noise=1e-4, provenance=provenance))
    assert found.choice is not None
    assert found.choice.kind == "open"
    assert f"no layout leads by more than {margin} % on average" in found.headline


def test_layouts_that_workloads_alone_tell_apart_depend_on_the_workload() -> None:
    low, high = (0.8,) * 3, (1.3,) * 3
    assert "it depends on the workload: ep" in only(by_workload(ep=(low, high))).headline
    both = only(by_workload(ep=((0.8, 0.8, 1.3), (1.3, 1.3, 1.3))))
    assert "it depends on the load and the workload: " in both.headline


def test_every_kind_of_load_has_its_place_where_the_answer_depends_on_it() -> None:
    closed, opened = runs({"tp": 1.0, "ep": 0.8}), runs({"tp": 1.0, "ep": 1.3})
    opened = opened.assign(request_rate=opened["max_concurrency"], max_concurrency=None)
    found = only(pd.concat([closed, opened], ignore_index=True))
    assert "at concurrency 1 to 64, +" in found.headline
    assert "at request rate 1 to 64, +" in found.headline


def test_replicates_too_few_for_a_test_are_no_single_runs() -> None:
    found = only(runs({"tp": 1.0, "ep": 1.3}, replicates=2))
    assert found.headline.startswith("ep (2 × H100) is ahead, in runs that allow no test: +")


def test_what_is_a_tie_makes_no_layout_first_by_another_measure() -> None:
    rows = runs({"tp": 1.0, "ep": 1.2}, replicates=1, noise=0.0, provenance="simulated")
    near = rows.assign(mean_ttft_ms=np.where(rows["strategy"] == "tp", 100.0, 101.0))
    assert firsts(near, ComparisonSpec(), FIRST_TOKEN) == {}
    split = near.assign(mean_ttft_ms=[100, 100, 200, 200, 200, 100])
    split = split[split["max_concurrency"] != 1]
    assert firsts(split, ComparisonSpec(), FIRST_TOKEN) == {
        "m": ("tp", "1 of 2 conditions; ep in as many")
    }


def test_an_estimate_has_one_margin_whatever_is_asked_of_it() -> None:
    rows = runs({"tp": 1.0, "ep": 1.033}, replicates=1, noise=0.0, provenance="simulated")
    rows["request_throughput"] = rows["output_throughput"] / 128
    for response in ("output_throughput", "request_throughput"):
        found = only(rows, response=response)
        assert found.choice is not None
        assert found.choice.kind == "tie"
        assert "within 3.6 % of each other" in found.headline


def test_an_answer_by_another_measure_names_it_in_words() -> None:
    rows = runs({"tp": 1.0, "ep": (0.8, 1.0, 1.3)}, replicates=1, noise=0.0)
    rows["p99_ttft_ms"] = 1e4 / rows["output_throughput"]
    depends = only(rows, response="p99_ttft_ms").headline
    assert depends.startswith("by p99 TTFT, it depends on the load, in single runs: ")
    ahead = only(rows[rows["max_concurrency"] == 64], response="p99_ttft_ms").headline
    assert ahead.endswith("−23 % p99 TTFT against tp (2 × H100)")


def test_ratios_of_layouts_that_the_tie_was_not_made_of_are_doubted() -> None:
    rows = runs({"tp": 1.0, "tp+ep": 1.2}, replicates=1, noise=0.0, provenance="simulated")
    (doubt,) = only(rows.assign(tp=2)).doubts
    assert doubt == (
        "with data or pipeline parallelism (tp+ep) estimated ratios were off by factors of "
        "1.1 to 2.1"
    )
    assert only(rows.assign(tp=rows["num_gpus"])).doubts == ()
    assert only(rows.assign(tp=2, provenance="measured")).doubts == ()


def test_every_layout_of_a_place_is_named_with_its_gpus() -> None:
    rates: dict[str, float | tuple[float, ...]] = {
        "tp": (1.3, 0.8, 0.8),
        "ep": 1.0,
        "tp+ep": (0.8, 0.99, 0.7),
    }
    found = only(runs(rates, replicates=1, noise=0.0, provenance="simulated"))
    assert "ep (2 × H100) or tp+ep (4 × H100) at concurrency 8" in found.headline


def test_a_layout_whose_runs_do_not_count_was_run_and_is_named() -> None:
    rows = runs({"tp": 1.0, "ep": 1.2, "dp": 1.5})
    failed = (rows["strategy"] == "dp") | (
        (rows["strategy"] == "ep") & (rows["max_concurrency"] == 64)
    )
    rows.loc[failed, ["verdict", "verdict_reasons"]] = ["invalid", "OOM"]
    doubts = only(rows).doubts
    assert "dp has no valid run" in doubts
    assert "ep has no valid run in 1 of 3 conditions" in doubts


def test_what_keeps_many_runs_from_a_test_is_said_with_its_own_way_out() -> None:
    rows = runs({"tp": 1.0, "ep": 1.2})
    copies = only(runs({"tp": 1.0, "ep": 1.2}, noise=0.0)).sure
    assert "repeat one number" in copies
    launches = only(rows.assign(server_group=rows["strategy"])).sure
    assert launches.endswith(f"plan {planned_runs(Rule())} launches of each layout")
    apart = rows.assign(block=rows["block"] + 100 * (rows["strategy"] == "ep"))
    assert "no block holds two of the layouts; run them beside each other" in only(apart).sure
    for told in (copies, launches, only(apart).sure):
        assert "the runs are too few" not in told


def test_an_interval_whose_ends_round_to_one_number_keeps_both() -> None:
    found = only(runs({"tp": 1.0, "ep": 1.2}, noise=0.002)).headline
    assert re.search(r"\(95 % interval \+(19|20)\.\d to \+20\.\d %\)", found)


def test_a_lead_beyond_the_limits_that_were_given_is_doubted() -> None:
    rows = runs({"tp": 1.0, "ep": 1.2}).assign(goodput_limits="ttft:300", slo_target=0.99)
    rows["slo_attainment"] = np.where(rows["max_concurrency"] == 64, 0.64, 1.0)
    (doubt,) = only(rows).doubts
    assert doubt.startswith(
        "fewer than 0.99 of requests kept the limits ttft:300: tp in 1, ep in 1 of 3 conditions"
    )
    assert only(rows.assign(slo_attainment=1.0)).doubts == ()


def test_what_many_layouts_have_alike_is_said_once() -> None:
    alike = only(runs({"tp": 1.0, "ep": 1.001, "dp": 1.002}, provenance="simulated")).headline
    assert alike.endswith("or tp (each 2 × H100): within 3.6 % of each other")
    unlike = only(runs({"tp": 1.0, "ep": 1.001, "tp+ep": 1.002}, provenance="simulated")).headline
    assert "tp+ep (4 × H100) or ep (2 × H100) or tp (2 × H100): within" in unlike
