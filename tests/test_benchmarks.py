"""Benchmarks are run by hand and seldom: that they load is seen here."""

import runpy
import sys
from pathlib import Path

import pytest

from tests.needs import needs_transformers

HEAVY_PARTS = ("diffusion", "offloading", "quantised")
"""They load torch."""
ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))
HEAVY = [ROOT / "benchmarks" / "gpu" / f"{name}.py" for name in HEAVY_PARTS]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(each, marks=[pytest.mark.slow, needs_transformers] if each in HEAVY else [])
        for each in SCRIPTS
    ],
    ids=[str(each.relative_to(ROOT)) for each in SCRIPTS],
)
def test_a_benchmark_finds_all_that_it_imports(
    script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(script.parent))
    known = set(sys.modules)
    try:
        assert runpy.run_path(str(script), run_name="loaded")["__file__"] == str(script)
    finally:
        # Scripts beside each other share plain names with those of other folders.
        for name in set(sys.modules) - known:
            if Path(getattr(sys.modules[name], "__file__", None) or ROOT).parent == script.parent:
                del sys.modules[name]


def test_the_interval_of_a_median_has_the_ranks_of_the_sign_test() -> None:
    """By hand, from sums of binomial coefficients over 2^n: the last that stay below 2.5 %."""
    exact = runpy.run_path(str(ROOT / "benchmarks/loadgen/by_endpoint.py"))["exact"]
    for pairs, ranks in ((6, (1, 6)), (9, (2, 8)), (12, (3, 10)), (20, (6, 15))):
        ratios = [float(rank) for rank in range(pairs, 0, -1)]
        assert exact(ratios).endswith("({:.3f} to {:.3f})".format(*ranks))
    assert "no interval" in exact(ratios[:5])
