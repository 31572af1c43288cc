"""Tables typed by hand with holes in them: what an answer does not rest on is said or refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.anova import AnovaModel, anova
from analysis.answer.answer import answers
from analysis.compare import ComparisonSpec, compare
from analysis.crossover import crossovers
from analysis.data.conditions import condition_columns
from analysis.data.frame import load
from analysis.plots.kinds import drawing
from analysis.report.sentences import check_sentences
from analysis.report.write import report_html
from analysis.tables.paper_tables import tables
from analysis.winners import winners
from catalog.errors import BadFile

TP = ComparisonSpec(reference="tp")
FACTORS = ("strategy", "max_concurrency")


def typed_by_hand() -> pd.DataFrame:
    """Six replicates of tp and ep at two loads; ep is 10 % better."""
    rng = np.random.default_rng(1)
    rows = [
        {
            "model": "moe-a", "strategy": strategy, "workload": "w", "max_concurrency": float(c),
            "replicate": float(replicate),
            "output_throughput": 100 * c * gain * np.exp(rng.normal(0, 0.02)),
        }
        for replicate in range(6)
        for c in (1, 16)
        for strategy, gain in (("tp", 1.0), ("ep", 1.1))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def notes(rows: pd.DataFrame) -> str:
    return "\n".join(compare(rows, TP).notes)


def test_a_load_that_one_strategy_alone_ran_at_is_named_as_left_out() -> None:
    rows = typed_by_hand()
    rows = rows[(rows["strategy"] == "tp") | (rows["max_concurrency"] == 1)]
    assert "max_concurrency 16: only tp" in notes(rows)
    assert "left out" not in notes(typed_by_hand())


def test_runs_without_a_partner_are_counted_beside_the_ratio() -> None:
    rows = typed_by_hand()
    rows = rows[(rows["strategy"] == "tp") | (rows["replicate"] < 4)]
    assert "ep against tp" in notes(rows)
    assert "no ratio" in notes(rows)
    assert "condition and block: 4 of tp" in notes(rows)
    assert "no ratio" not in notes(typed_by_hand())


def test_runs_that_never_met_are_refused_with_the_reason() -> None:
    rows = typed_by_hand()
    rows = rows[(rows["strategy"] == "tp") == (rows["replicate"] < 3)]
    with pytest.raises(BadFile, match="runs of different blocks make no pair"):
        compare(rows, TP)


def test_runs_that_are_averaged_since_some_have_no_number_are_counted() -> None:
    rows = typed_by_hand()
    some = rows.assign(replicate=rows["replicate"].where(rows["replicate"] >= 3))
    assert "12 runs share their condition and their block or replicate number" in notes(some)
    assert "share their condition" not in notes(rows)


def test_runs_that_name_no_load_are_counted() -> None:
    rows = typed_by_hand()
    some = rows.assign(max_concurrency=rows["max_concurrency"].where(rows["replicate"] >= 3))
    assert "12 runs name no load" in notes(some)
    assert "6 runs name no load" in notes(
        rows[rows["max_concurrency"] == 1].iloc[:6, [0, 1, 2, 4, 5]]
    )
    assert "no load" not in notes(rows)


def test_a_crossover_with_a_load_that_is_not_known_is_refused_and_the_report_says_so() -> None:
    rows = typed_by_hand()
    some = rows.assign(max_concurrency=rows["max_concurrency"].where(rows["replicate"] >= 3))
    with pytest.raises(BadFile, match="'max_concurrency', row 1: empty"):
        crossovers(some, TP)
    assert "No crossover" in report_html(some)


def test_a_column_that_is_empty_in_every_row_can_be_filled_in() -> None:
    with pytest.raises(BadFile, match=r"'strategy', row 1: empty; --constant strategy=VALUE says"):
        tables(typed_by_hand().assign(strategy=""))


def test_failed_requests_of_runs_that_nobody_judged_are_said() -> None:
    rows = typed_by_hand()
    failed = rows.assign(failed=np.where(rows["strategy"] == "ep", 60, 0))
    assert "12 rows with failed requests" in notes(failed)
    assert "failed requests" not in notes(failed.assign(verdict="valid"))
    assert "failed requests" not in notes(rows.assign(failed=0))


@pytest.mark.parametrize("column", ["driver_version", "power_cap", "clock_limit_mhz"])
def test_a_number_that_one_strategy_alone_names_is_said_to_change_with_it(column: str) -> None:
    rows = typed_by_hand()
    some = rows.assign(**{column: np.where(rows["strategy"] == "tp", 550.5, np.nan)})
    said = anova(some, AnovaModel(factors=FACTORS)).notes
    told = f"{column} changes with strategy (ep: unknown; tp: 550.5)"
    assert any(told in note for note in said)


def test_a_clock_that_rows_were_run_at_keeps_them_apart() -> None:
    rows = typed_by_hand()
    rows["sm_clock_mhz"] = np.where(rows["replicate"] < 3, 1410, 1980)
    assert "sm_clock_mhz" in condition_columns(rows)


def test_a_copy_of_a_table_is_no_second_study(tmp_path: Path) -> None:
    rows = typed_by_hand()
    for name in ("a.csv", "b.csv"):
        rows.to_csv(tmp_path / name, index=False)
    with pytest.raises(BadFile, match="row 1 is there already"):
        load(tmp_path / "a.csv", tmp_path / "b.csv")
    rows.assign(run_id=[f"other-{n}" for n in range(24)]).to_csv(tmp_path / "b.csv", index=False)
    assert len(load(tmp_path / "a.csv", tmp_path / "b.csv")) == 48


def test_rows_without_a_number_may_agree(tmp_path: Path) -> None:
    rows = typed_by_hand().drop(columns="replicate").round(-3)
    rows.to_csv(tmp_path / "a.csv", index=False)
    assert len(load(tmp_path / "a.csv")) == 24


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("model;strategy\na;tp\n", "';' between its cells: save it with commas"),
        ("model\tstrategy\na\ttp\n", "between its cells: save it with commas"),
        ('model,output_throughput\na,"1026,5"\n', "without a unit or a comma"),
    ],
)
def test_a_table_as_other_countries_write_it_is_refused_with_the_way_out(
    tmp_path: Path, text: str, problem: str
) -> None:
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(BadFile, match=problem):
        load(tmp_path / "r.csv")


def test_runs_that_name_no_load_are_left_out_of_a_figure_over_loads_and_counted() -> None:
    rows = typed_by_hand()
    some = rows.assign(max_concurrency=rows["max_concurrency"].where(rows["replicate"] >= 3))
    for kind in ("heatmap", "throughput"):
        assert "12 runs name no load and are left out" in " ".join(drawing(some, kind).notes)


def led(*percent: float) -> pd.DataFrame:
    """One load, at which ep is so much ahead in each block."""
    rows = typed_by_hand()
    rows = rows[rows["max_concurrency"] == 1]
    gain = 1 + rows["replicate"].map(dict(enumerate(percent))) / 100
    return rows.assign(output_throughput=np.where(rows["strategy"] == "ep", gain, 1.0) * 100)


def test_a_lead_inside_the_margin_is_shown_equal_by_the_equivalence_test_alone() -> None:
    ahead = led(3.4, 1.6, 3.5, 1.5, 3.4, 1.8)  # 2.5 %, by an interval from 1.5 to 3.6
    assert compare(ahead, TP).contrasts[0].verdict == "better"
    assert winners(ahead)["standing"].tolist() == ["near"]
    assert winners(led(0.4, 0.6, 0.5, 0.4, 0.5, 0.6))["standing"].tolist() == ["equal"]


def test_a_mean_lead_is_not_claimed_to_be_shown_beyond_the_margin() -> None:
    ahead = led(2.0, 6.0, 2.5, 5.5, 3.0, 5.0)  # 4 %, by an interval from 2.2 to 5.8
    assert compare(ahead, TP).contrasts[0].ratio.low < 1.03
    (answer,) = answers(ahead)
    assert "shown to lead (by more than 3 % in the mean) in 1 of 1 condition" in answer.sure


def test_an_assumption_that_too_few_runs_tell_is_not_said_to_be_broken() -> None:
    rows = typed_by_hand()
    found = anova(rows[rows["replicate"] < 2], AnovaModel(factors=FACTORS, interactions=True))
    (told,) = [text for text in check_sentences(found) if "equal variances" in text]
    assert "equal variances was not checked" in told
    assert "add runs to check this" in told


@pytest.mark.parametrize(
    ("noise", "replicates", "end"),
    [(0.0, 6, "at every load"), (0.2, 6, "not rule one out"), (0.0, 1, "hold them all")],
)
def test_a_lead_at_every_load_is_told_from_one_that_the_runs_show(
    noise: float, replicates: int, end: str
) -> None:
    rows = typed_by_hand()
    rows = rows[rows["replicate"] < replicates]
    away = np.where(rows["strategy"] == "ep", noise * (rows["replicate"] % 2 - 0.5), 0)
    (found,) = crossovers(rows.assign(output_throughput=rows["output_throughput"] + 100 * away), TP)
    assert found.row()["note"].startswith("no crossover in concurrency 1 to 16: ep is ahead")
    assert found.row()["note"].endswith(end)


def test_two_that_are_equal_at_every_load_have_no_leader() -> None:
    (found,) = crossovers(typed_by_hand().assign(output_throughput=100.0), TP)
    assert found.row()["note"].endswith("the two are equal at every load")


def test_seconds_under_a_name_in_milliseconds_leave_a_closed_loop_empty(tmp_path: Path) -> None:
    rows = typed_by_hand().assign(mean_e2el_ms=1500.0, num_prompts=200.0, failed=0.0)
    rows["request_throughput"] = rows["max_concurrency"] / 1.5
    path = tmp_path / "r.csv"
    rows.to_csv(path, index=False)
    assert len(load(path)) == 24
    slipped = rows.assign(mean_e2el_ms=1.5)
    slipped.to_csv(path, index=False)
    with pytest.raises(BadFile, match="nearly empty: mixed units"):
        load(path)
    slipped.assign(request_rate=4.0).to_csv(path, index=False)
    assert len(load(path)) == 24  # an open loop may be as empty as that


def test_a_strategy_that_ran_alone_leads_nowhere() -> None:
    rows = typed_by_hand()
    (answer,) = answers(rows[(rows["strategy"] == "tp") | (rows["max_concurrency"] == 1)])
    assert answer.headline.startswith("use ep")
    assert "in 1 of 1 condition" in answer.sure
    assert answer.doubts[0] == "ep was not run in 1 of 2 conditions"
    (none,) = answers(rows[(rows["strategy"] == "tp") == (rows["max_concurrency"] == 1)])
    assert none.headline == "no answer, no two strategies were run under one condition"
    assert len(none.doubts) == 2


def test_where_the_others_failed_the_one_that_has_valid_runs_is_named() -> None:
    rows = typed_by_hand().sort_values("strategy").assign(num_gpus=2.0)
    rows = rows[rows["max_concurrency"] == 1]
    failed = rows.assign(verdict=np.where(rows["strategy"] == "ep", "failed", "valid"))
    (answer,) = answers(failed)
    assert answer.headline.startswith("only tp has valid runs, at one load")
    page = report_html(failed)
    assert "Only tp has valid runs" in page
    assert "6 of 12 unstated runs count" in page
    assert answers(failed[failed["verdict"] == "valid"])[0].headline.startswith("only tp was run")


def test_single_runs_are_better_across_their_conditions_alone() -> None:
    rows = typed_by_hand()
    page = report_html(pd.concat([rows[rows["replicate"] == 0].assign(workload=w) for w in "abc"]))
    assert "better, by single runs, across these conditions alone" in page


def test_rows_without_a_verdict_beside_judged_ones_are_counted() -> None:
    rows = typed_by_hand()
    some = rows.assign(verdict=np.where(rows["replicate"] < 3, "", "valid"))
    assert "12 rows have no verdict and count like the valid ones" in notes(some)
    assert "no verdict" not in notes(rows) + notes(rows.assign(verdict=""))


def test_an_arm_a_thousand_times_the_other_is_asked_for_its_unit() -> None:
    rows = typed_by_hand()
    times = np.where(rows["strategy"] == "ep", 1e-3, 1.0)
    slipped = rows.assign(output_throughput=rows["output_throughput"] * times)
    assert "0.0011 times what tp has: are both in one unit?" in notes(slipped)
    assert "one unit" not in notes(rows)


def test_tables_of_runs_without_a_throughput_are_refused() -> None:
    with pytest.raises(BadFile, match="no run says its output_throughput"):
        tables(typed_by_hand().assign(output_throughput=np.nan))


def test_percentiles_of_few_requests_are_counted_where_they_are_compared() -> None:
    rows = typed_by_hand().assign(p90_ttft_ms=10.0 + np.arange(24) % 7)

    def said(rows: pd.DataFrame) -> str:
        return "\n".join(compare(rows, ComparisonSpec("p90_ttft_ms", "tp")).notes)

    assert "p90_ttft_ms needs 64 requests a run: 24 do not say how many they had" in said(rows)
    few = rows.assign(completed=np.where(rows["replicate"] < 3, 20.0, 200.0))
    assert "p90_ttft_ms needs 64 requests a run: 12 have fewer" in said(few)
    assert "requests a run" not in said(rows.assign(completed=64.0)) + notes(rows)


def test_advice_in_a_model_of_several_factors_names_the_table_that_holds_the_test() -> None:
    rows = typed_by_hand()
    rows["output_throughput"] *= np.where(np.arange(len(rows)) % 7 == 3, 9.0, 1.0)
    varying = ("strategy", "max_concurrency")
    alone = anova(rows, AnovaModel(factors=varying))
    together = anova(rows, AnovaModel(factors=varying, interactions=True))
    words = " of each factor alone, without --interactions"
    assert any("read Kruskal–Wallis" in c.advice for c in alone.checks)
    assert not any(words in c.advice for c in alone.checks)
    assert any(f"read Kruskal–Wallis{words}" in c.advice for c in together.checks)
