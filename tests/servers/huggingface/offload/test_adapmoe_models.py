"""AdapMoE's knobs on a tiny Mixtral that has learned something."""

import pytest

from tests.needs import needs_transformers
from tests.servers.huggingface.offload.test_offload import Quality, answers, loaded

pytestmark = [pytest.mark.slow, needs_transformers]


async def test_a_growing_threshold_moves_fewer_experts_and_costs_perplexity(
    learned: str, quality_over_http: Quality
) -> None:
    plain = loaded("causal", learned)
    expected, before = answers(plain.decoder), await quality_over_http(plain)
    moved, shares, perplexities = [], [], []
    for threshold in ("0", "0.02", "1"):
        served = loaded(
            "offload", learned, "--share", "0.25", "--skip", threshold, "--split", "layers"
        )
        decoder = served.decoder
        found = answers(decoder)
        if threshold == "0":
            assert found == expected
        counted = decoder.counters()  # type: ignore[attr-defined]
        moved.append(counted["expert_moved_bytes"])
        shares.append(counted.get("expert_skipped", 0) / counted.get("expert_chosen", 1))
        perplexities.append((await quality_over_http(served)).perplexity)
        held = decoder.residency  # type: ignore[attr-defined]
        assert 0 < held.peak_bytes <= held.arena.nbytes
        assert sum(len(cache.slots) for cache in held.caches) == held.arena.count == 4
    assert perplexities[0] == pytest.approx(before.perplexity, rel=1e-6)
    assert moved == sorted(moved, reverse=True)
    assert moved[-1] < 0.75 * moved[0]
    assert shares == sorted(shares)
    assert shares[-1] == 0.5  # each token keeps one of two
    assert perplexities == sorted(perplexities)
    assert perplexities[-1] > 1.005 * perplexities[0]
