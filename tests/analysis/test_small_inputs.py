"""Small tables that would make an analysis lie, through the command line; the right answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from moeserve.cli import main

TABLES = Path(__file__).with_name("small_inputs")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    words = [str(TABLES / word) if word.endswith(".csv") else word for word in arguments]
    with pytest.raises(SystemExit) as end:
        main(words)
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def rows_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    code, out, err = run(capsys, *arguments, "--format", "json")
    assert code == 0, err
    rows: list[dict[str, Any]] = json.loads(out)
    return rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "ratios"),
    [
        (["two_gpus.csv"], {"A100-80GB": 1.009, "H100": 1.012}),
        (["two_gpus_complete.csv"], {"A100-80GB": 1.102, "H100": 0.899}),
        (["one_gpu_a100.csv", "one_gpu_h100.csv"], {"A100-80GB": 1.102, "H100": 0.899}),
    ],
)
def test_two_gpus_are_compared_apart_and_an_absent_run_shifts_no_pair(
    capsys: pytest.CaptureFixture[str], files: list[str], ratios: dict[str, float]
) -> None:
    found = rows_of(capsys, "compare", *files, "--reference", "tp")
    assert {row["gpu_type"]: row["ratio"] for row in found} == pytest.approx(ratios, abs=6e-4)
    _, _, err = run(capsys, "compare", *files)
    assert "rows differ in gpu_type (A100-80GB, H100)" in err


@pytest.mark.slow
def test_a_table_has_a_line_for_each_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    cells = rows_of(capsys, "tables", "two_gpus.csv", "--table", "IV")
    shares = {cell["row"]: cell["value"] for cell in cells if cell["column"] == "EP/TP"}
    wanted = {"A · A100-80GB": 100.9, "A · H100": 101.2}
    assert shares == pytest.approx(wanted, abs=0.1)


@pytest.mark.parametrize(
    ("how", "pairs"), [(["--where", "gpu_type=h100"], 4), (["--pool", "gpu_type"], 7)]
)
def test_a_user_may_take_one_gpu_or_overlook_the_difference(
    capsys: pytest.CaptureFixture[str], how: list[str], pairs: int
) -> None:
    (row,) = rows_of(capsys, "compare", "two_gpus.csv", *how)
    assert row["pairs"] == pairs
    assert row["ratio"] == pytest.approx(1.011, abs=2e-3)


@pytest.mark.parametrize("explicit", [False, True])
def test_kinds_and_counts_of_gpus_are_strata_asked_for_or_not(
    capsys: pytest.CaptureFixture[str], explicit: bool
) -> None:
    columns = ("model", "workload", "max_concurrency", "gpu_type", "num_gpus")
    by = [word for name in columns for word in ("--by", name)] if explicit else []
    found = rows_of(capsys, "compare", "two_gpu_types.csv", "--reference", "tp", *by)
    ratios = {(r["gpu_type"], r["num_gpus"], r["max_concurrency"]): r["ratio"] for r in found}
    assert ratios == pytest.approx(
        {
            ("A100", 4, 1): 1.10,
            ("A100", 4, 16): 1.10,
            ("H100", 8, 1): 1.139,
            ("H100", 8, 16): 1.198,
        },
        abs=6e-4,
    )


@pytest.mark.slow
def test_a_layout_on_one_gpu_is_no_reference_for_one_on_four(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = rows_of(capsys, "compare", "mixed_gpu_counts.csv", "--reference", "tp")
    assert {r["max_concurrency"]: r["ratio"] for r in found} == pytest.approx(
        {1: 0.75, 16: 0.682}, abs=6e-4
    )
    assert {row["num_gpus"] for row in found} == {4}
    _, _, err = run(capsys, "compare", "mixed_gpu_counts.csv", "--reference", "tp")
    assert "left out, nothing to compare with tp" in err
    assert "num_gpus 1" in err


def test_analysis_of_variance_refuses_gpus_that_no_factor_tells_apart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(capsys, "anova", "two_gpus.csv", "--factor", "strategy")
    assert (code, out) == (2, "")
    for way in ("--where gpu_type=A100-80GB", "--factor gpu_type", "--pool gpu_type"):
        assert way in err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("response", "ratio"),
    [
        ("perplexity", 1.256),
        ("peak_gpu_memory_bytes", 1.996),
        ("usd_per_million_output_tokens", 1.487),
    ],
)
def test_where_less_is_better_more_is_worse(
    capsys: pytest.CaptureFixture[str], response: str, ratio: float
) -> None:
    (row,) = rows_of(
        capsys, "compare", "directions.csv", "--reference", "tp", "--response", response
    )
    assert row["ratio"] == pytest.approx(ratio, abs=6e-4)
    assert row["verdict"] == "worse"


@pytest.mark.slow
@pytest.mark.parametrize(("told", "verdict"), [("lower", "worse"), ("higher", "better")])
def test_a_column_nobody_declared_has_no_better_until_told(
    capsys: pytest.CaptureFixture[str], told: str, verdict: str
) -> None:
    question = ("compare", "directions.csv", "--reference", "tp", "--response", "preemptions")
    code, _, err = run(capsys, *question)
    assert code == 2
    assert "--better" in err
    (row,) = rows_of(capsys, *question, "--better", told)
    assert row["verdict"] == verdict


@pytest.mark.slow
def test_loads_that_were_not_reached_are_one_condition_counted_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = rows_of(capsys, "compare", "load_not_reached.csv", "--reference", "tp")
    assert [row["max_concurrency"] for row in found] == [16, 20]
    factors = ("--factor", "strategy", "--factor", "max_concurrency")
    (_, load) = rows_of(capsys, "anova", "load_not_reached.csv", *factors)
    assert (load["df"], load["n"]) == (1, 16)
    _, _, err = run(capsys, "anova", "load_not_reached.csv", *factors)
    assert "32, 64, 128 was not reached (CONCURRENCY_NOT_REACHED): 20 requests" in err
    (_, asked) = rows_of(capsys, "anova", "load_not_reached.csv", *factors, "--as-asked")
    assert (asked["df"], asked["n"]) == (3, 32)


def test_strategies_that_ran_at_different_loads_are_named_with_the_turned_sign(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, _, err = run(capsys, "anova", "simpson.csv", "--factor", "strategy")
    assert "strategy ran under different max_concurrency" in err
    assert "ep is higher than tp, the other way round (Simpson's paradox)" in err
    code, _, err = run(capsys, "compare", "simpson.csv", "--reference", "tp")
    assert code == 2
    assert "no block holds both" in err


@pytest.mark.slow
def test_no_interval_of_a_throughput_begins_below_zero(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("simpson.csv", "holes.csv"):
        cells = rows_of(capsys, "tables", name)
        assert all(cell["low"] is None or cell["low"] > 0 for cell in cells)


def test_a_crossover_uses_every_pair_and_says_where_there_is_none(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (row,) = rows_of(capsys, "compare", "holes.csv", "--reference", "tp", "--crossover")
    assert "no crossover in concurrency 1 to 32: ep is ahead at every load" in row["note"]
    (row,) = rows_of(capsys, "compare", "hybrid_name.csv", "--reference", "hybrid", "--crossover")
    assert row["crossover_concurrency"] == pytest.approx(8.31, abs=0.01)
    assert row["reference"] == "tp+ep"


def test_a_table_with_names_of_its_own_is_chosen_from_and_told_what_lacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(capsys, "select", "own_names.csv", "--maximize", "tput")
    assert code == 0
    assert "choice: TP4EP4, concurrency 64" in err
    assert "3106" in out
    code, _, err = run(capsys, "compare", "own_names.csv", "--response", "tput")
    assert code == 2
    assert "'model' (" in err
    assert "'strategy' (did you mean Config?)" in err
    assert "'workload' (" in err


def test_an_empty_column_is_called_empty(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "select", "empty_column.csv", "--minimize", "quality")
    assert code == 2
    assert "column 'quality' is empty" in err


def test_eight_rows_of_one_launch_claim_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows_of(capsys, "compare", "one_launch.csv", "--reference", "tp")
    assert (row["pairs"], row["p"], row["verdict"]) == (1, None, "undecided")
    assert "8 pairs of runs share 1 server launch (server_group)" in row["reason"]
    code, out, err = run(capsys, "compare", "one_launch.csv", "--tukey")
    assert (code, out) == (2, "")
    assert "server_group" in err


def test_six_runs_decide_a_twofold_loss_and_call_the_equal_arm_no_loss(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = rows_of(capsys, "compare", "six_runs.csv", "--reference", "tp")
    hybrid = [row for row in found if row["strategy"] == "tp+ep"]
    assert [row["verdict"] for row in hybrid] == ["worse"] * 21
    assert {row["runs_needed"] for row in hybrid} == {None}
    assert "worse" not in {row["verdict"] for row in found if row["strategy"] == "ep"}


@pytest.mark.slow
def test_an_interaction_that_launches_fix_is_tested_by_launches(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """F 1.62, p 0.19 are those of a two-way analysis of variance of the launches' means."""
    factors = ("--factor", "max_concurrency", "--factor", "strategy", "--factor", "model")
    asked = ("anova", "launch_null.csv", *factors, "--interactions")
    rows = {row["factor"]: row for row in rows_of(capsys, *asked)}
    found = rows["strategy × model"]
    assert found["p"] == pytest.approx(0.021, abs=5e-4)
    assert found["mixed_f"] == pytest.approx(1.62, abs=0.01)
    assert found["mixed_p"] == pytest.approx(0.19, abs=0.005)
    assert rows["max_concurrency × strategy"]["mixed_df_residual"] > found["mixed_df_residual"]
    _, _, err = run(capsys, *asked)
    assert "strategy × model: " in err
    assert "mixed_p counts launches and is the one to claim" in err


@pytest.mark.slow
def test_a_table_says_that_runs_of_one_launch_are_one_observation(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(capsys, "tables", "one_launch.csv", "--table", "IV")
    assert code == 0
    assert "8 runs of a condition come from one server launch (server_group)" in out + err
    cells = rows_of(capsys, "tables", "one_launch.csv", "--table", "IV")
    assert {(cell["low"], cell["high"]) for cell in cells} == {(None, None)}
