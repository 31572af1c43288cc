"""Notes on replicates: a drift over blocks and a stray replicate are said, noise is not."""

import numpy as np
import pandas as pd
import pytest

from analysis.statistics.steadiness import replicate_notes

METRIC = "output_throughput"


def study(
    seed: int = 0, *, blocks: int = 6, noise: float = 0.01, drift: float = 0.0
) -> pd.DataFrame:
    """Two strategies at three loads, a block a replicate; `drift` is a share from first to last."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "strategy": strategy,
            "model": "m",
            "workload": "w",
            "max_concurrency": load,
            "block": block,
            METRIC: 100 * load * (1 + drift * block / (blocks - 1)) * rng.lognormal(0, noise),
        }
        for strategy in ("tp", "ep")
        for load in (1, 8, 64)
        for block in range(blocks)
    ]
    return pd.DataFrame(rows)


@pytest.mark.slow
def test_replicates_that_agree_give_no_notes() -> None:
    assert sum(bool(replicate_notes(study(seed), METRIC)) for seed in range(100)) <= 3


def test_a_drift_of_five_percent_over_the_blocks_is_said_with_its_size() -> None:
    for seed in range(20):
        note = replicate_notes(study(seed, drift=0.05), METRIC)[0]
        assert note.startswith(
            ("results drift by +4", "results drift by +5", "results drift by +6")
        )


def test_a_stray_replicate_is_named_and_kept() -> None:
    frame = study()
    frame.loc[2, METRIC] *= 0.5
    (note,) = replicate_notes(frame, METRIC)
    assert note.startswith("1 of 36 replicates lie far")
    assert "(tp m w 1)" in note


def test_a_table_that_numbers_replicates_and_no_blocks_is_judged_alike() -> None:
    drifting, stray = study(drift=0.05), study()
    stray.loc[2, METRIC] *= 0.5
    for frame, word in ((drifting, "drift by"), (stray, "lie far")):
        (note,) = replicate_notes(frame, METRIC)
        assert word in note
        assert replicate_notes(frame.rename(columns={"block": "replicate"}), METRIC) == (note,)
    assert replicate_notes(stray.drop(columns="block"), METRIC) == (note,)


def test_what_cannot_be_judged_is_not() -> None:
    assert replicate_notes(study(blocks=2, drift=0.5), METRIC) == ()
    assert replicate_notes(study().drop(columns="block"), METRIC) == ()
    assert replicate_notes(study().assign(**{METRIC: np.nan}), METRIC) == ()
    copies = study(noise=0.0)
    assert replicate_notes(copies, METRIC) == ()
