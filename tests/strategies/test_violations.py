"""Every reason against a layout at its edge, by the numbers of a small model."""

import msgspec
import pytest

from catalog.attention import FixedState, GroupedQueryAttention, LatentAttention
from catalog.models import Block, Experts, Model
from strategies.feasible import layout_violations
from strategies.layout import Layout

MODEL = Model(
    name="small", hf_id=None, layers=4, hidden=64, vocab=100, dense_width=48,
    attention=GroupedQueryAttention(heads=12, kv_heads=4, head_dim=8),
    experts=Experts(count=8, top_k=2, width=24, layers=3, shared_width=20),
    tied_embeddings=False, max_context=128,
)  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "reasons"),
    [
        (Layout(), []),
        (Layout(tp=2), []),
        (Layout(tp=4), []),
        # 12 heads over 3 and 4 KV heads with 3: neither divides the other.
        (Layout(tp=3), ["4 KV heads and tp = 3: one must divide the other",
                        "shared expert width 20 is not divisible by tp = 3"]),
        (Layout(tp=5), ["12 attention heads are not divisible by tp = 5",
                        "4 KV heads and tp = 5: one must divide the other",
                        "dense width 48 is not divisible by tp = 5",
                        "expert width 24 is not divisible by tp*dp = 5"]),
        (Layout(tp=12), ["shared expert width 20 is not divisible by tp = 12"]),
        (Layout(dp=5), ["expert width 24 is not divisible by tp*dp = 5"]),
        (Layout(dp=5, ep=True), []),
        (Layout(dp=8, ep=True), []),
        (Layout(dp=9, ep=True), ["8 experts over 9 ranks leave ranks empty"]),
        (Layout(tp=2, dp=5, ep=True), ["8 experts over 10 ranks leave ranks empty"]),
        (Layout(pp=4), []),
        (Layout(pp=5), ["pp = 5 is more than the model's 4 layers"]),
    ],
)  # fmt: skip
def test_a_layout_is_refused_for_all_its_reasons_and_for_no_other(
    layout: Layout, reasons: list[str]
) -> None:
    assert list(layout_violations(layout, MODEL)) == reasons


def test_dense_widths_count_only_where_there_are_dense_layers() -> None:
    odd = msgspec.structs.replace(MODEL, dense_width=47)
    assert layout_violations(Layout(tp=2), odd) == ("dense width 47 is not divisible by tp = 2",)
    assert odd.experts is not None
    every = msgspec.structs.replace(odd, experts=msgspec.structs.replace(odd.experts, layers=4))
    assert layout_violations(Layout(tp=2), every) == ()


def test_a_model_without_experts_has_none_to_spread() -> None:
    dense = msgspec.structs.replace(MODEL, experts=None)
    assert layout_violations(Layout(dp=2), dense) == ()
    assert layout_violations(Layout(dp=2, ep=True), dense) == ("small has no experts to spread",)


def test_states_are_split_by_their_heads_and_latents_by_their_queries_alone() -> None:
    state = FixedState(kind="mamba", heads=6, projections=(), state_elements=1)
    latent = LatentAttention(
        heads=12, kv_rank=8, rope_dim=2, nope_dim=4, value_dim=4, query_rank=None
    )
    blocks = (Block(count=3, mixers=(state,), routed=True), Block(count=1, mixers=(latent,)))
    mixed = msgspec.structs.replace(MODEL, blocks=blocks)
    assert layout_violations(Layout(tp=2), mixed) == ()
    assert layout_violations(Layout(tp=4), mixed) == (
        "6 heads of state are not divisible by tp = 4",
    )


def test_of_a_model_that_is_not_counted_nothing_is_held_against_a_layout() -> None:
    unknown = msgspec.structs.replace(MODEL, counted="no")
    assert layout_violations(Layout(tp=7), unknown) == ()
