"""Sizes of one layer's attention and feed-forward part, each counted by hand on small shapes."""

import msgspec
import pytest

from catalog.attention import FixedState, GroupedQueryAttention, LatentAttention
from catalog.counts import counts_of, most_dtype
from catalog.indexers import BlockIndexer, Indexer
from catalog.layers import Block, Dense, Experts, Stored
from catalog.models import Model

HIDDEN = 100
GQA = GroupedQueryAttention(heads=6, kv_heads=2, head_dim=8, value_dim=5)
# Queries 6·8 = 48 wide, keys 2·8 = 16, values 2·5 = 10, what goes out 6·5 = 30.
GQA_MATRICES = {"q_proj": 4800, "k_proj": 1600, "v_proj": 1000, "o_proj": 3000}


def of(kind: GroupedQueryAttention, **changes: object) -> GroupedQueryAttention:
    return msgspec.structs.replace(kind, **changes)


def test_grouped_queries_have_four_matrices_and_a_key_and_a_value_for_each_kv_head() -> None:
    assert GQA.matrices(HIDDEN) == GQA_MATRICES
    assert GQA.params(HIDDEN) == 4800 + 1600 + 1000 + 3000
    assert GQA.kv_elements == 2 * (8 + 5)
    assert GQA.score_width == GQA.prompt_score_width == 6 * (8 + 5)
    assert (GQA.ways, GQA.reach, GQA.index_bytes, GQA.state_elements) == (2, None, 0, 0)
    assert (GQA.widening, GQA.replicated(HIDDEN)) == (0, 0)
    assert of(GQA, value_dim=None).kv_elements == 2 * (8 + 8)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"bias": True}, 48 + 16 + 10),
        ({"output_bias": True}, 100),
        ({"qk_norm": "head"}, 2 * 8),
        ({"qk_norm": "full"}, 48 + 16),
        ({"sinks": True}, 6),
        ({"gate": "head"}, 100 * 6),
        ({"gate": "element"}, 100 * 30),
        ({"query_rank": 7}, 100 * 7 + 7 * 48 + 7 - 4800),
        ({"shared_values": True}, -1000),
        ({"shared_values": True, "bias": True}, -1000 + 48 + 16),
        ({"borrowed_cache": True}, -1600 - 1000),
        ({"borrowed_cache": True, "bias": True}, -2600 + 48),
        ({"borrowed_cache": True, "qk_norm": "head"}, -2600 + 8),
        ({"borrowed_cache": True, "qk_norm": "full"}, -2600 + 48),
    ],
)
def test_each_trait_adds_the_parameters_it_has(changes: dict[str, object], more: int) -> None:
    assert of(GQA, **changes).params(HIDDEN) - GQA.params(HIDDEN) == more


def test_a_borrowed_cache_is_none_and_shared_values_are_cached_all_the_same() -> None:
    assert of(GQA, borrowed_cache=True).kv_elements == 0
    assert set(of(GQA, borrowed_cache=True).matrices(HIDDEN)) == {"q_proj", "o_proj"}
    assert of(GQA, shared_values=True).kv_elements == GQA.kv_elements
    assert "v_proj" not in of(GQA, shared_values=True).matrices(HIDDEN)


def test_a_window_or_a_choice_of_tokens_is_how_far_a_query_reaches() -> None:
    assert of(GQA, window=512).reach == 512
    assert of(GQA, top_k=64).reach == 64
    assert of(GQA, window=512, top_k=64).reach == 512


def test_matrices_have_their_names_in_a_checkpoint() -> None:
    narrow = of(GQA, query_rank=7, gate="head").matrices(HIDDEN)
    assert narrow == {
        "q_a_proj": 700, "q_b_proj": 7 * 48, "k_proj": 1600, "v_proj": 1000, "o_proj": 3000,
        "gate_proj": 600,
    }  # fmt: skip


MLA = LatentAttention(heads=4, kv_rank=16, rope_dim=3, nope_dim=5, value_dim=6, query_rank=10)


def test_latents_have_six_matrices_of_deepseek_s_names() -> None:
    assert MLA.matrices(HIDDEN) == {
        "q_a_proj": 100 * 10, "q_b_proj": 10 * 4 * 8, "kv_a_proj_with_mqa": 100 * 19,
        "kv_b_proj": 16 * 4 * 11, "o_proj": 4 * 6 * 100,
    }  # fmt: skip
    whole = msgspec.structs.replace(MLA, query_rank=None)
    assert whole.matrices(HIDDEN)["q_proj"] == 100 * 32
    assert {"q_a_proj", "q_b_proj"}.isdisjoint(whole.matrices(HIDDEN))
    # A norm of each latent: 16 and 10, or 16 alone.
    assert MLA.params(HIDDEN) == 1000 + 320 + 1900 + 704 + 2400 + 26
    assert whole.params(HIDDEN) == 3200 + 1900 + 704 + 2400 + 16


def test_one_latent_and_its_rotary_key_are_cached_and_no_rank_splits_them() -> None:
    assert (MLA.kv_elements, MLA.kv_heads, MLA.ways) == (16 + 3, 1, 1)
    assert (MLA.reach, MLA.index_bytes, MLA.state_elements) == (None, 0, 0)
    # Down-projections 1000 + 1900 and norms 26 are on every rank.
    assert MLA.replicated(HIDDEN) == 1000 + 1900 + 26


def test_decoding_scores_against_latents_and_prompts_against_widened_keys() -> None:
    assert MLA.score_width == 4 * (2 * 16 + 3)
    assert MLA.prompt_score_width == 4 * (5 + 3 + 6)
    assert MLA.widening == 16 * 4 * (5 + 6)
    sparse = msgspec.structs.replace(MLA, top_k=2048)
    assert sparse.prompt_score_width == sparse.score_width == 4 * (2 * 16 + 3)
    assert (sparse.widening, sparse.reach) == (0, 2048)


def test_an_indexer_has_its_matrices_norms_and_bytes_a_token() -> None:
    sparse = msgspec.structs.replace(MLA, index=Indexer(heads=2, head_dim=4), top_k=64)
    own = {"indexer.wq_b": 10 * 2 * 4, "indexer.wk": 100 * 4, "indexer.weights_proj": 100 * 2}
    assert sparse.matrices(HIDDEN) == MLA.matrices(HIDDEN) | own
    # Its key has a norm with a bias.
    assert sparse.params(HIDDEN) - MLA.params(HIDDEN) == 80 + 400 + 200 + 2 * 4
    assert sparse.replicated(HIDDEN) - MLA.replicated(HIDDEN) == 680 + 8
    # A key in fp8, with one scale of four bytes.
    assert sparse.index_bytes == 4 + 4
    whole = msgspec.structs.replace(sparse, query_rank=None)
    assert whole.matrices(HIDDEN)["indexer.wq_b"] == 100 * 2 * 4
    blocks = of(GQA, index=BlockIndexer(heads=2, head_dim=4))
    assert blocks.params(HIDDEN) - GQA.params(HIDDEN) == 800 + 400 + 8
    assert blocks.index_bytes == 2 * 4


def test_a_state_is_what_it_was_given_and_grows_with_nothing() -> None:
    state = FixedState(
        kind="mamba2", heads=4, projections=(("in_proj", 700), ("out_proj", 300)), small=25,
        state_elements=64,
    )  # fmt: skip
    assert state.params(HIDDEN) == 1025
    assert (state.kv_elements, state.score_width, state.widening, state.ways) == (0, 0, 0, 4)
    assert (state.index_bytes, state.reach, state.prompt_score_width) == (0, None, 0)


def test_experts_and_dense_parts_count_their_matrices_and_biases() -> None:
    assert Dense(width=30).params(HIDDEN) == 3 * 100 * 30
    assert Dense(width=30, matrices=2, bias=True).params(HIDDEN) == 2 * 3000 + 30 + 100
    assert Dense(width=30, bias=True).params(HIDDEN) == 3 * 3000 + 60 + 100
    plain = Experts(count=8, top_k=2, width=30, layers=3)
    assert plain.active_fraction == 0.25
    assert plain.params_per_expert(HIDDEN) == 9000
    assert plain.shared_params(HIDDEN) == 800
    full = Experts(
        count=8, top_k=2, width=30, layers=3, shared_width=20, shared_gate=True, matrices=2,
        bias=True, router_bias=True, space=40, router_small=11,
    )  # fmt: skip
    assert full.params_per_expert(HIDDEN) == 2 * 40 * 30 + 30 + 40
    # Shared part 2·100·20, its gate 100, router 800 and 8, two ways of 100·40, 11.
    assert full.shared_params(HIDDEN) == 4000 + 100 + 808 + 8000 + 11


MODEL = Model(
    name="small", hf_id=None, layers=5, hidden=HIDDEN, vocab=1000, attention=GQA,
    experts=Experts(count=8, top_k=2, width=30, layers=3), dense_width=50, tied_embeddings=False,
    max_context=4096, lookup_params=7, extra_params=9,
)  # fmt: skip


def test_a_model_s_parameters_are_the_sums_of_its_layers() -> None:
    assert MODEL.embedding_params == 2 * 1000 * 100 + 7
    # Five layers of 10,400 and two norms, and a final norm.
    assert MODEL.attention_params == 5 * (10_400 + 200) + 100
    assert (MODEL.dense_layers, MODEL.dense_ffn_params) == (2, 2 * 3 * 100 * 50)
    assert MODEL.shared_expert_params == 3 * 800
    assert MODEL.expert_params == 3 * 8 * 9000
    total = 200_007 + 53_100 + 30_000 + 2400 + 216_000 + 9
    assert MODEL.total_params == total
    # Six of eight experts are idle.
    assert MODEL.active_params == total - 216_000 * 6 // 8
    tied = msgspec.structs.replace(MODEL, tied_embeddings=True)
    assert tied.embedding_params == 100_007
    dense = msgspec.structs.replace(MODEL, experts=None)
    assert dense.active_params == dense.total_params == total - 216_000 - 2400 + 3 * 15_000
    assert (dense.expert_params, dense.shared_expert_params, dense.dense_layers) == (0, 0, 5)


def test_a_model_of_equal_layers_is_its_dense_ones_and_those_with_experts() -> None:
    assert [(b.count, b.routed, len(b.dense)) for b in MODEL.stack] == [(2, False, 1), (3, True, 0)]
    every = msgspec.structs.replace(
        MODEL, experts=Experts(count=8, top_k=2, width=30, layers=5), dense_width=0
    )
    assert [(b.count, b.routed, len(b.dense)) for b in every.stack] == [(5, True, 0)]
    none = msgspec.structs.replace(MODEL, experts=None)
    assert [(b.count, b.routed, len(b.dense)) for b in none.stack] == [(5, False, 1)]


def test_layers_with_a_window_stop_growing_at_it() -> None:
    windowed = msgspec.structs.replace(
        MODEL, attention=msgspec.structs.replace(GQA, window=100, windowed_layers=3)
    )
    assert windowed.window == windowed.reach == 100
    assert windowed.kv_elements_per_token == 5 * 26
    for context in (99, 100, 101, 1000):
        held = 2 * context + 3 * min(context, 100)
        assert windowed.cache_bytes(context) == held * 26 * 2
        assert windowed.cache_bytes(context, element_bytes=1.0) == held * 26
    assert (MODEL.window, MODEL.reach) == (None, None)
    assert MODEL.cache_bytes(10) == 5 * 10 * 26 * 2


def test_index_keys_and_states_are_kept_beside_the_cache() -> None:
    state = FixedState(kind="mamba", heads=1, projections=(), state_elements=64)
    sparse = msgspec.structs.replace(MLA, index=Indexer(heads=2, head_dim=4), top_k=64)
    mixed = msgspec.structs.replace(
        MODEL,
        blocks=(Block(count=2, mixers=(state,)), Block(count=3, mixers=(sparse,), routed=True)),
    )
    assert mixed.state_elements == 2 * 64
    assert mixed.kv_elements_per_token == 3 * 19
    assert mixed.cache_bytes(10) == 2 * 64 * 2 + 3 * 19 * 10 * 2 + 3 * 8 * 10
    assert mixed.dense_layers == 0
    assert mixed.reach == 64


def test_bytes_of_each_part_follow_from_the_types() -> None:
    held = MODEL.held
    assert held == Stored(
        embedding=(200_007 - 100_000) * 2.0, head=100_000 * 2.0, attention=53_109 * 2.0,
        dense=32_400 * 2.0, experts=216_000 * 2.0,
    )  # fmt: skip
    assert held.total == 2 * MODEL.total_params
    four = msgspec.structs.replace(MODEL, weight_dtype="int8", expert_dtype="float32")
    # Embedding and head of a model in eight bits stay in sixteen.
    assert four.held.head == 100_000 * 2
    assert four.held.attention == 53_109
    assert four.held.experts == 216_000 * 4
    wide = msgspec.structs.replace(MODEL, weight_dtype="float32")
    assert wide.held.head == 100_000 * 4


def test_a_checkpoint_s_own_sizes_stay_until_its_types_are_changed() -> None:
    stored = Stored(embedding=1, head=2, attention=3, dense=4, experts=5)
    own = msgspec.structs.replace(MODEL, stored=stored, expert_dtype="fp8")
    assert own.held == stored
    assert own.held.total == 15
    assert own.held_in(None, None).stored == stored
    assert own.held_in("float16", None).stored == stored, "as wide as before"
    assert own.held_in("float32", None).stored is None
    assert own.held_in(None, "float32").stored is None
    changed = own.held_in("float32", "int8")
    assert (changed.weight_dtype, changed.expert_dtype) == ("float32", "int8")
    unknown = msgspec.structs.replace(own, counted="no")
    assert unknown.held_in("float32", None) is unknown


def test_a_list_shows_a_model_s_sizes_and_of_one_not_counted_its_context_alone() -> None:
    counts = counts_of(MODEL)
    assert (counts.total_params, counts.active_params) == (501_516, 339_516)
    assert (counts.layers, counts.hidden, counts.max_context) == (5, 100, 4096)
    assert (counts.experts, counts.top_k, counts.expert_width) == (8, 2, 30)
    assert counts.kv_elements_per_token == 5 * 26
    assert (counts.weight_bytes, counts.weight_dtype) == (2 * 501_516, "bfloat16")
    assert (counts.kind, counts.counted) == ("autoregressive", "exact")
    dense = counts_of(msgspec.structs.replace(MODEL, experts=None, max_context=0))
    assert (dense.experts, dense.top_k, dense.expert_width, dense.max_context) == (None,) * 4
    unknown = msgspec.structs.replace(MODEL, weight_dtype="unknown")
    assert (counts_of(unknown).weight_bytes, counts_of(unknown).weight_dtype) == (None, None)
    none = counts_of(msgspec.structs.replace(MODEL, counted="no"))
    assert (none.counted, none.max_context, none.total_params) == ("no", 4096, None)


@pytest.mark.parametrize(("width", "most"), [(30, "bfloat16"), (40, "mxfp4")])
def test_the_type_shown_is_that_of_the_larger_part(width: int, most: str) -> None:
    # Of 501,516 the experts are 216,000, or 288,000 of 573,516.
    experts = Experts(count=8, top_k=2, width=width, layers=3)
    assert most_dtype(msgspec.structs.replace(MODEL, experts=experts, expert_dtype="mxfp4")) == most
