"""What a model cannot tell apart is not named a winner without saying so."""

import pandas as pd

from analysis.compare import ComparisonSpec
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
