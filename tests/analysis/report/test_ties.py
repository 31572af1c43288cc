"""What a model cannot tell apart is not named a winner without saying so."""

import pandas as pd

from analysis.compare import ComparisonSpec
from analysis.crossover import crossovers
from analysis.report.advice import advice
from analysis.winners import winners


def runs(provenance: str, **rates: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "run_id": f"{strategy}-{load}",
            "provenance": provenance,
            "model": "m",
            "workload": "w",
            "strategy": strategy,
            "max_concurrency": load,
            "request_rate": None,
            "output_throughput": rate * load,
        }
        for strategy, rate in rates.items()
        for load in (1, 8)
    )


def test_simulated_strategies_nearer_than_the_model_knows_are_tied() -> None:
    near = winners(runs("simulated", tp=100.0, ep=103.0, other=80.0))
    assert set(near["strategy"]) == {"ep"}
    assert set(near["tied_with"]) == {"tp"}
    assert set(winners(runs("simulated", tp=100.0, ep=120.0))["tied_with"]) == {""}
    assert set(winners(runs("measured", tp=100.0, ep=103.0))["tied_with"]) == {""}


def test_the_answer_says_what_it_cannot_tell_from_the_leader() -> None:
    rows = runs("simulated", tp=100.0, ep=103.0)
    (answer,) = advice(rows, ComparisonSpec(), winners(rows), [])
    assert any("tp cannot be told from the leader" in point for point in answer.points)
    apart = runs("simulated", tp=100.0, ep=130.0)
    (answer,) = advice(apart, ComparisonSpec(), winners(apart), [])
    assert not any("cannot be told" in point for point in answer.points)


def by_load(provenance: str, *ratios: float) -> pd.DataFrame:
    """Runs of two layouts at three loads, the second so much of the first."""
    rows = pd.concat([runs(provenance, tp=100.0, ep=100.0)] * 2, ignore_index=True).iloc[:6]
    rows = rows.assign(
        strategy=["tp"] * 3 + ["ep"] * 3,
        max_concurrency=[1, 8, 64] * 2,
        output_throughput=[100.0, 800.0, 6400.0]
        + [r * n for r, n in zip(ratios, (100, 800, 6400), strict=True)],
    )
    return rows.assign(run_id=[f"r{place}" for place in range(6)])


def points(rows: pd.DataFrame) -> str:
    (answer,) = advice(rows, ComparisonSpec(), winners(rows), crossovers(rows))
    return " ".join(answer.points)


def test_lines_that_cross_within_the_ties_of_a_model_are_no_crossover() -> None:
    assert "below" not in points(by_load("simulated", 0.99, 0.995, 1.02))
    assert "tp below, ep above concurrency" in points(by_load("simulated", 0.9, 0.95, 1.2))


def test_an_average_says_from_where_to_where_its_conditions_go() -> None:
    assert "on average, 80.0 to 125 % by condition" in points(by_load("measured", 0.8, 1.0, 1.25))
    assert "by condition" not in points(by_load("measured", 1.1, 1.1, 1.1))


def test_of_an_estimate_no_repetition_is_asked_nor_a_test_told() -> None:
    told = points(by_load("simulated", 0.8, 1.0, 1.25))
    assert not [
        word for word in ("interval", "runs of each", "--num-runs", "tested") if word in told
    ]
    assert "by the model" in told
