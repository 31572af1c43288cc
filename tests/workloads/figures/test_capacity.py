"""The capacity statement: the border of the limits, the knee and the price, of valid runs alone."""

from typing import Any

import pytest

from workloads.figures.capacity import highest, knee, levels_of, statement, statements

UNIT = "concurrent requests"


def run(load: int, throughput: float, good: int = 100, **more: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "strategy": "as served",
        "workload": "16:16:100",
        "max_concurrency": load,
        "output_throughput": throughput,
        "mean_e2el_ms": 1e3 * load / throughput,
        "good_requests": good,
        "completed": 100,
        "failed": 0,
        "goodput_limits": "ttft:200",
        "slo_target": 0.99,
        "usd_per_million_output_tokens": 1000 / throughput,
        "verdict": "valid",
        **more,
    }


SWEEP = [run(1, 100), run(2, 190), run(4, 340), run(8, 400, good=97), run(16, 410, good=10)]


def test_the_highest_load_is_the_last_before_the_first_that_fails() -> None:
    levels = levels_of(SWEEP, UNIT)
    passed, failed = highest(levels, 0.99)
    assert passed is not None
    assert failed is not None
    assert (passed.load, failed.load) == (4, 8)
    again = levels_of([*SWEEP[:3], run(8, 400, good=90), run(16, 410, good=100)], UNIT)
    assert highest(again, 0.99)[0] == passed  # a pass beyond a failure is luck


def test_the_knee_is_the_load_of_most_throughput_per_second_of_latency() -> None:
    # Throughput² / load: 10000, 18050, 28900, 20000, 10506.
    found = knee(levels_of(SWEEP, UNIT))
    assert found is not None
    assert found.load == 4
    assert knee(levels_of(SWEEP[:2], UNIT)) is None


def test_the_statement_says_border_interval_knee_and_price() -> None:
    text = statement(SWEEP)
    assert text.startswith(
        "capacity of m as served 16:16:100: highest load within ttft:200 for 0.99"
    )
    assert "4 concurrent requests (100.0% of 100 requests, 95 % interval 96.3% to 100.0%)" in text
    assert "between 4 and 8" in text
    assert "$2.94 per million output tokens" in text
    assert text.endswith("at 4 concurrent requests")


def test_replicates_are_counted_together() -> None:
    (level, _) = levels_of([run(1, 100, good=99), run(1, 110, good=100), run(2, 120)], UNIT)
    assert (level.good, level.requests, level.throughput) == (199, 200, 105)


def test_runs_that_are_not_valid_are_left_out_and_told() -> None:
    text = statement([*SWEEP[:2], run(4, 340, verdict="invalid")])
    assert "2 concurrent requests" in text
    assert "1 runs that are not valid are left out" in text
    none = statement([run(load, 100, verdict="invalid") for load in (1, 2)])
    assert none.endswith("not known, none of 2 runs is valid")


def test_loads_that_were_tried_in_vain_are_not_taken_for_untried() -> None:
    refused = [run(n, 300, verdict="invalid", verdict_reasons="CLUMPED") for n in (8, 6)]
    text = statement([*SWEEP[:3], *refused])
    assert "none has a valid run (6: CLUMPED; 8: CLUMPED), so the border is not known" in text
    assert "the highest that was tried" not in text
    slow = [run(1, 100, verdict="invalid"), run(2, 150, good=5)]
    assert "no load with a valid run is within" in statement(slow)
    assert "the border is between 4 and 16" in statement([*SWEEP[:3], *refused, SWEEP[4]])


def test_where_requests_failed_the_load_is_beyond_the_border() -> None:
    lost = {"verdict": "invalid", "verdict_reasons": "ERRORS"}
    refused = run(6, 300, good=4, completed=4, failed=96, **lost)
    border = "the border is between 4 and 6, where requests failed"
    assert border in statement([*SWEEP[:3], refused])
    assert border in statement([*SWEEP, refused])
    some = run(6, 300, good=99, completed=99, failed=1, **lost)
    assert "(6: ERRORS), so the border is not known" in statement([*SWEEP[:3], some])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([run(1, 100, good=5), run(2, 150, good=5)], "no load tried is within"),
        (SWEEP[:3], "the highest that was tried"),
        ([run(n, 100 * n, good_requests=None) for n in (1, 2)], "no limits were given"),
        ([run(n, 100 * n, usd_per_million_output_tokens=None) for n in (1, 2)], "$ unknown"),
        ([run(n, 9, max_concurrency=None, request_rate=n) for n in (1, 2)], "2 requests/s"),
    ],
)
def test_what_is_not_known_is_said(rows: list[dict[str, Any]], words: str) -> None:
    assert words in statement(rows)


def test_one_load_is_no_sweep_and_servers_are_kept_apart() -> None:
    assert statements([run(1, 100), run(2, 100, served_model="other")]) == []
    assert len(statements([run(1, 100), run(2, 100, served_model="other")], fewest=1)) == 2
