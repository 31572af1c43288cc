"""Claims about campaigns whose truth is known: block, launch and noise, as on a real machine.

Every bound is the stated one. Rates that a test holds exactly (5 %) are looked at in 200 campaigns
and, where that is cheap, in thousands, so that 6 % is not met by luck.
"""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from analysis.anova import AnovaModel, anova
from analysis.compare import ComparisonSpec, Decision, compare, decisions
from analysis.data.pairs import strata
from analysis.statistics.contrast import Rule
from analysis.statistics.mixed import mixed_model

FALSE_CLAIMS, COVERED, POWER, INTERACTION = 0.06, (0.93, 0.97), 0.80, 0.06
NOISE, LAUNCH = 0.01, 0.02
BY = ("model", "workload", "max_concurrency")


def campaigns(
    count: int, seed: int, replicates: int, ratio: float, *, loads: int = 1, noise: float = NOISE
) -> pd.DataFrame:
    """Strategies tp and ep under some loads; a campaign is a model, a replicate has its launch."""
    rng = np.random.default_rng(seed)
    shape = (count, loads, replicates, 2)
    logs = rng.normal(0, 0.05, (*shape[:3], 1)) + rng.normal(0, LAUNCH, shape)
    logs += rng.normal(0, noise, shape) + np.array([0.0, np.log(ratio)])
    place = np.indices(shape).reshape(4, -1)
    strategy = np.array(["tp", "ep"])[place[3]]
    return pd.DataFrame(
        {
            "model": place[0],
            "workload": "w",
            "max_concurrency": 2 ** place[1],
            "strategy": strategy,
            "block": place[2],
            "output_throughput": 100 * np.exp(logs.ravel()),
            "server_group": [".".join(map(str, each)) for each in place.T],
        }
    )


def decided(rows: pd.DataFrame, rule: Rule) -> list[list[Decision]]:
    """The contrasts of each campaign, each campaign a family of its own."""
    spec = ComparisonSpec(by=BY, rule=rule)
    families: dict[object, list[object]] = {}
    for group in strata(rows, spec.response, BY):
        families.setdefault(dict(group.key)["model"], []).append(group)
    return [
        decisions(groups, "tp", spec, "holm" if len(groups) == 1 else "bh")
        for groups in families.values()
    ]


def claimed(families: list[list[Decision]]) -> float:
    """Share of campaigns with any claim."""
    wrong = [any(d.verdict in ("better", "worse") for d in family) for family in families]
    return float(np.mean(wrong))


def covered(families: list[list[Decision]], truth: float) -> float:
    ratios = [each.ratio for family in families for each in family]
    return float(np.mean([found.low <= truth <= found.high for found in ratios]))


def test_a_campaign_decided_here_is_what_compare_prints() -> None:
    rows = campaigns(3, 1, 5, 0.97, loads=4)
    for model, family in enumerate(decided(rows, Rule())):
        printed = compare(rows[rows["model"] == model], ComparisonSpec(reference="tp")).contrasts
        assert [(c.p_adjusted, c.verdict) for c in printed] == [
            (pytest.approx(d.p_adjusted, rel=1e-12), d.verdict) for d in family
        ]


@pytest.mark.slow
@pytest.mark.parametrize(("replicates", "loads"), [(3, 1), (6, 1), (10, 1), (4, 8), (9, 8)])
def test_equal_arms_are_rarely_told_apart_and_intervals_cover(replicates: int, loads: int) -> None:
    """Slow for its thousands of campaigns: at most 6 % claim anything, 93 to 97 % cover."""
    for count, seed in ((200, 5), (3000 if loads == 1 else 1000, 7)):
        found = decided(campaigns(count, seed, replicates, 1.0, loads=loads), Rule())
        assert len(found) == count
        assert claimed(found) <= FALSE_CLAIMS
        assert COVERED[0] <= covered(found, 1.0) <= COVERED[1]


def advised(rows: pd.DataFrame, rule: Rule) -> list[int]:
    """The number of replicates that `compare` prints."""
    found = compare(rows, ComparisonSpec(reference="tp", rule=rule)).rows()
    assert all(row["runs_needed"] for row in found)
    return [int(str(row["runs_needed"])) for row in found]


@pytest.mark.slow
@pytest.mark.parametrize("loads", [1, 8])
def test_the_replicates_advised_before_any_spread_is_known_find_five_percent(loads: int) -> None:
    """Slow for its 200 campaigns of the size that one run of each strategy is told to plan."""
    (plan,) = set(advised(campaigns(1, 1, 1, 1.0, loads=loads), Rule()))
    for seed in (1, 2):
        found = decided(campaigns(200, seed, plan, 1 / 1.05, loads=loads), Rule())
        verdicts = [each.verdict for family in found for each in family]
        assert verdicts.count("worse") / len(verdicts) >= POWER


@pytest.mark.slow
@pytest.mark.parametrize("pilot", [3, 6])
@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_the_replicates_advised_by_a_pilot_find_five_percent(pilot: int, noise: float) -> None:
    """Slow for its 200 pilots and five campaigns of each one's advice; the margin is the effect."""
    spec = ComparisonSpec(by=BY, rule=Rule(margin=0.05), adjust="none")
    plans = [
        made.runs_needed
        for made in compare(campaigns(200, 3, pilot, 1.0, noise=noise), spec).contrasts
        if made.verdict == "undecided"
    ]
    assert len(plans) > 20
    verdicts = [
        found.verdict
        for plan, count in Counter(plans).items()
        for (found,) in decided(
            campaigns(5 * count, plan, plan, 1 / 1.05, noise=noise), Rule(margin=0.01)
        )
    ]
    assert verdicts.count("worse") / len(verdicts) >= POWER


def launched(seed: int) -> pd.DataFrame:
    """Three models × three strategies × four loads × three launches; no interaction is there."""
    rng = np.random.default_rng(seed)
    models, strategies, replicates, loads = 3, 3, 3, (1, 8, 32, 128)
    place = np.indices((models, strategies, replicates, len(loads))).reshape(4, -1)
    logs = 0.2 * place[0] + 0.1 * place[1] + rng.normal(0, 0.02, place.shape[1])
    logs += rng.normal(0, 0.07, (models, strategies, replicates))[tuple(place[:3])]
    load = np.array(loads)[place[3]]
    return pd.DataFrame(
        {
            "model": np.array(list("ABC"))[place[0]],
            "workload": "w",
            "max_concurrency": load,
            "strategy": np.array(["tp", "ep", "tp+ep"])[place[1]],
            "block": place[2],
            "output_throughput": load * np.exp(logs),
            "server_group": [f"{m}-{s}-{r}" for m, s, r, _ in place.T],
        }
    )


FACTORS = ("strategy", "model", "max_concurrency")


@pytest.mark.slow
def test_an_interaction_that_launches_fix_is_claimed_at_its_size_only() -> None:
    """Slow for its 200 mixed models."""
    claims = 0
    for seed in range(200):
        rows = launched(seed)
        found = mixed_model(rows, np.log(rows["output_throughput"]), FACTORS, order=2)
        p = {effect.factor: effect.p for effect in found.effects}
        claims += p["strategy × model"] <= 0.05
    assert claims / 200 <= INTERACTION


@pytest.mark.slow
def test_p_by_rows_would_claim_it_far_more_often() -> None:
    model = AnovaModel(factors=FACTORS, interactions=True, order=2, log=True)
    by_rows = []
    for seed in range(10):
        rows = {row["factor"]: row for row in anova(launched(seed), model).rows()}
        by_rows.append(rows["strategy × model"]["p"] <= 0.05)
        assert rows["strategy × model"]["mixed_p"] > rows["strategy × model"]["p"]
    assert np.mean(by_rows) > 0.25
