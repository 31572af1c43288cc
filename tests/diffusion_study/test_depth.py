"""Operations a pass hands to the device, against the published times."""

import pytest

from catalog.model_table import MODELS
from diffusion_study.depth import DENSE, MOE, narrow, operations_at_depth

pytestmark = pytest.mark.slow  # torch alone takes seconds to import

# Table VII of the parallelism paper: seconds a pass of LLaDA-8B and LLaDA-MoE-7B on one A100.
DENSE_PASS_S, MOE_PASS_S = 0.0406, 0.399


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> None:
    pytest.importorskip("torch", reason="operations are torch's")
    pytest.importorskip("transformers", reason="models are transformers'")


def test_one_cost_an_operation_explains_both_published_times_if_experts_are_looped_over() -> None:
    dense = operations_at_depth(MODELS[DENSE], ("grouped",))["grouped"]
    looped = operations_at_depth(MODELS[MOE], ("loop",))["loop"]
    assert MOE_PASS_S / looped == pytest.approx(DENSE_PASS_S / dense, rel=0.05)
    assert looped / dense == pytest.approx(9.8, rel=0.05)


def test_in_products_the_published_moe_hands_over_no_more_than_the_dense_model() -> None:
    dense = operations_at_depth(MODELS[DENSE], ("grouped",))["grouped"]
    moe = operations_at_depth(MODELS[MOE], ("batched", "grouped"))
    assert max(moe.values()) < dense


def test_the_count_depends_on_layers_and_experts_not_on_widths() -> None:
    wide = MODELS["tiny-llada-moe"]
    assert narrow(wide).hidden < wide.hidden
    loop, grouped = operations_at_depth(wide, ("loop", "grouped")).values()
    assert 8 <= (loop - grouped) / (wide.layers * 64) <= 11
