"""What pruning leaves of a model: counts by hand, and refusals whose way out is one."""

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from catalog.hardware_table import gpu
from catalog.layers import Stored
from catalog.model_table import MODELS
from catalog.models import Model
from perfmodel.breakdown import step_cost
from perfmodel.constants import ROOFLINE
from perfmodel.load import decode_load
from perfmodel.step import StepModel
from strategies.engine_support import refuse_unable
from strategies.layout import Layout
from strategies.pruning import left_of
from strategies.technique import parse_technique

MIXTRAL = MODELS["Mixtral-8x7B"]
EXPERT = 3 * 4096 * 14336


def decode_bytes(model: Model, batch: int) -> float:
    """What a step reads and writes on one GPU."""
    step = StepModel(model, Layout(), gpu("H200"), constants=ROOFLINE)
    return step_cost(step, [decode_load(batch=batch, context=1)]).moved_bytes


def pruned(technique: str, model: Model = MIXTRAL) -> Model:
    return parse_technique(technique).stored(model)


def test_half_of_the_experts_take_half_of_the_bytes_and_a_token_reads_as_many_as_before() -> None:
    half = pruned("prune-experts:share=0.5")
    assert half.expert_params == 32 * 4 * EXPERT == MIXTRAL.expert_params / 2
    assert half.active_params == MIXTRAL.active_params - 32 * 4 * 4096  # rows of the routers
    # A batch that touches every expert touches half of them.
    read = [decode_bytes(model, batch=256) for model in (MIXTRAL, half)]
    assert read[0] - read[1] == pytest.approx(32 * 4 * (EXPERT + 4096) * 2, rel=1e-3)


def test_a_quarter_of_the_width_is_a_quarter_of_what_experts_hold_and_of_what_a_token_reads() -> (
    None
):
    narrow = pruned("prune-width:share=0.25")
    assert narrow.experts is not None
    assert narrow.experts.width == 10752
    assert MIXTRAL.active_params - narrow.active_params == 32 * 2 * EXPERT / 4
    both = pruned("prune-width:share=0.25+prune-experts:share=0.5+int8")
    assert both.expert_params == MIXTRAL.expert_params * 0.75 / 2
    assert both.expert_dtype == "int8"


def test_a_checkpoint_that_is_quantised_loses_its_own_bytes() -> None:
    stored = Stored(embedding=1.0, head=1.0, attention=1.0, dense=1.0, experts=80.0)
    held = pruned("prune-experts:share=0.25", msgspec.structs.replace(MIXTRAL, stored=stored)).held
    assert (held.experts, held.attention) == (60.0, 1.0)


@given(count=st.integers(1, 512), share=st.decimals("0.000001", "0.999999", places=6))
def test_what_stays_is_the_whole_less_the_share_and_every_refusal_names_a_share_that_works(
    count: int, share: object
) -> None:
    least = max(1, count // 4)
    try:
        left = left_of(count, float(str(share)), least=least, what="it", of="a model")
    except BadValue as refused:
        allowed = re.search(r"allowed: (?:up to )?([\d.e-]+)", str(refused))
        assert allowed is not None
        if least < count:
            assert (
                least <= left_of(count, float(allowed[1]), least=least, what="it", of="m") < count
            )
    else:
        assert least <= left < count
        assert count - left <= float(str(share)) * count + 1e-6 < count - left + 1


@pytest.mark.parametrize(
    ("technique", "told"),
    [
        ("prune-experts", "no share.*prune-experts:share=0.25"),
        ("prune-width:share=1", "over 0 and below 1"),
        ("prune-experts:share=0.5:by=luck", "use, weight, router"),
        ("prune-experts:share=0.5:by=router:text=a.txt", "by=use or by=weight, which read it"),
        ("prune-experts:share=0.9", "up to 0.75, which leaves 2 of 8 in Mixtral-8x7B"),
        ("prune-experts:share=0.1", "0.125 or more: one of the 8 of Mixtral-8x7B"),
    ],
)
def test_a_share_that_cannot_go_is_refused_with_one_that_can(technique: str, told: str) -> None:
    with pytest.raises(BadValue, match=told):
        parsed = parse_technique(technique)
        refuse_unable(parsed, "transformers")
        parsed.stored(MIXTRAL)


def test_a_model_without_experts_has_none_to_lose() -> None:
    with pytest.raises(BadValue, match="LLaMA-65B', allowed: a model with experts"):
        pruned("prune-width:share=0.5", MODELS["LLaMA-65B"])
