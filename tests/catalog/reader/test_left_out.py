"""What a `config.json` leaves to its class: taken where it is known, and else not counted."""

import json
from typing import Any

import pytest

from catalog.errors import BadFile, NotCounted
from catalog.from_hf import model_from_config
from catalog.models import Model
from catalog.reader.class_defaults import known_classes
from catalog.reader.families import FAMILIES, SAME_AS

# The head of these is a part of the class around them, which does not tie it.
HEAD_OUTSIDE = {"qwen2_5_omni_text", "qwen3_vl_moe_text"}


def read(model_type: str, **given: object) -> Model:
    return model_from_config({"model_type": model_type, **given}, name="read", where="read")


@pytest.mark.parametrize(
    ("model_type", "keys"),
    [
        # Layers with a window, which its class names one by one.
        ("mimo_v2_flash", "sliding_window"),
        ("granite_swa", "sliding_window"),
        ("inkling_text", "swa_num_attention_heads"),
        # Which layers keep a state.
        ("kimi_linear", "layer_types"),
        ("bamba", "layer_types"),
        # Parts that no count here knows.
        ("deepseek_v4", "hc_mult"),
        ("gemma3n_text", "laurel_rank"),
        # No gate in the feed-forward part.
        ("gpt_neox", "hidden_act: 'gelu'"),
        ("persimmon", "hidden_act: 'relu2'"),
    ],
)
def test_what_only_the_class_says_of_layers_is_not_passed_over(model_type: str, keys: str) -> None:
    with pytest.raises(NotCounted, match=keys):
        read(model_type)


def test_the_first_layer_is_dense_where_a_class_makes_it_so_and_the_file_is_silent() -> None:
    silent = read("glm4_moe_lite")
    assert silent.total_params == read("glm4_moe_lite", first_k_dense_replace=1).total_params
    assert silent.experts is not None
    assert silent.experts.layers == silent.layers - 1
    every = read("glm4_moe_lite", first_k_dense_replace=0).experts
    assert every is not None
    assert every.layers == silent.layers


def test_the_layers_with_attention_are_the_class_s_where_the_file_is_silent() -> None:
    told = read("jamba", attn_layer_period=8, attn_layer_offset=4)
    assert read("jamba").total_params == told.total_params
    assert [n for n, mixer in told.mixers if mixer.kv_elements] == [1] * 4


def test_what_the_file_says_by_another_name_replaces_what_the_class_says() -> None:
    dense = ["dense"] * 2 + ["sparse"] * 59
    by_words = read("deepseek_v3", mlp_layer_types=dense)
    assert by_words.total_params == read("deepseek_v3", first_k_dense_replace=2).total_params
    renamed = read("lfm2", block_ff_dim=2048, full_attn_idxs=[2, 5])
    by_class = read("lfm2", intermediate_size=2048, full_attn_idxs=[2, 5])
    assert renamed.total_params == by_class.total_params


def test_a_text_config_of_nothing_but_its_family_is_that_family_s() -> None:
    text = {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32_064}
    wrapped = model_from_config({"model_type": "llava", "text_config": text}, name="wrapped")
    assert wrapped.total_params == read(**text).total_params
    assert (wrapped.counted, wrapped.max_context) == ("exact", 4096)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_file_of_nothing_but_its_family_counts_as_its_class_or_not_at_all() -> None:
    pytest.importorskip("transformers", reason="its classes have the defaults")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    compared = 0
    for model_type in set(known_classes()) - HEAD_OUTSIDE:
        try:
            silent = read(model_type)
            written = CONFIG_MAPPING[model_type]().to_json_string(use_diff=False)
            whole = model_from_config(json.loads(written), name="whole")
        except BadFile:
            continue  # not counted: nothing is claimed
        assert _sizes(silent) == _sizes(whole), model_type
        compared += SAME_AS.get(model_type, model_type) in FAMILIES
    assert compared >= 50


def _sizes(model: Model) -> tuple[Any, ...]:
    cache = sum(n * mixer.kv_elements for n, mixer in model.mixers)
    total, active = model.total_params, model.active_params
    return total, active, cache, model.state_elements, model.window, model.max_context
