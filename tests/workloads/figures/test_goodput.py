import numpy as np
import pytest
from scipy import stats

from catalog.errors import BadValue
from workloads.figures.goodput import good, parse_goodput, wilson_interval


@pytest.mark.parametrize(
    "texts", [["ttft:200", "tpot:50"], ["ttft:200 tpot:50"], ["ttft:2e2,tpot:50.0"]]
)
def test_slos_are_read_in_vllms_syntax(texts: list[str]) -> None:
    assert parse_goodput(texts) == {"ttft": 200.0, "tpot": 50.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ttft",
        "ttft:",
        "ttft:x",
        "ttft:0",
        "ttft:-1",
        "ttft:inf",
        "ttft:nan",
        "itl:5",
        "ttft:1 ttft:2",
    ],
)
def test_bad_slos_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(BadValue, match="ttft, tpot, e2el"):
        parse_goodput([text])


def test_a_good_request_meets_every_slo_and_its_bound_is_within() -> None:
    latencies = {
        "ttft": np.array([100.0, 200.0, 201.0, 10.0]),
        "tpot": np.array([50.0, 50.0, 10.0, np.nan]),
    }
    assert good(latencies, {"ttft": 200, "tpot": 50}) == 3


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (3, 10), (10, 10), (95, 100), (1, 1)])
def test_the_interval_is_wilsons(successes: int, trials: int) -> None:
    reference = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((reference.low, reference.high))


def test_nothing_tried_is_nothing_known() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)
