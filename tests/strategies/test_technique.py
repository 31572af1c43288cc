"""Techniques: names that parse back, combinations that make sense, refusals with the way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue, UnknownName
from catalog.hardware_table import gpu
from catalog.model_table import MODELS
from catalog.models import Model
from perfmodel.memory import memory
from strategies.engine_support import methods_of, refuse_on_cpu, refuse_unable
from strategies.layout import Layout
from strategies.methods import METHODS
from strategies.technique import parse_technique, parse_techniques

AVX2 = frozenset({"avx", "avx2"})
SAPPHIRE_RAPIDS = frozenset({"avx2", "avx512f", "amx_tile"})
VALUES = {"cpu-offload": "8GiB", "awq": "some/awq", "gptq": "some/gptq", "variant": "some/other"}


@st.composite
def names(draw: st.DrawFn) -> str:
    """Methods that change different things."""
    chosen = draw(st.lists(st.sampled_from(sorted(METHODS)), unique=True, min_size=1))
    words, taken = [], set()
    for name in chosen:
        if not taken & set(METHODS[name].changes):
            value = f":{VALUES.get(name, 'word')}" if METHODS[name].value else ""
            words.append(name + value)
        taken |= set(METHODS[name].changes)
    return "+".join(words)


@given(names())
def test_a_name_parses_back_to_its_technique(name: str) -> None:
    technique = parse_technique(name)
    assert technique.name == name
    assert parse_technique(technique.name) == technique


def test_knobs_come_in_one_order_so_that_one_technique_has_one_name() -> None:
    one = parse_technique("expert-offload:cache=lru:resident=2")
    assert one.name == "expert-offload:resident=2:cache=lru"
    assert one == parse_technique(" Expert-Offload:resident=2:cache=lru ")
    assert parse_technique("baseline").name == "none"


def test_a_list_keeps_its_order_without_repeats() -> None:
    found = parse_techniques(["none,kv-fp8", "bf16", "kv-fp8"])
    assert [technique.name for technique in found] == ["none", "kv-fp8", "bf16"]


def test_vllm_gets_its_own_flags() -> None:
    args = parse_technique("int8+kv-fp8+cpu-offload:1.5GiB").vllm_args
    assert args == [
        *("--quantization", "experts_int8", "--kv-cache-dtype", "fp8"),
        *("--cpu-offload-gb", "1.5"),
    ]
    layered = parse_technique("layer-offload:group=4:layers=1").vllm_args
    assert layered == [
        *("--offload-group-size", "4", "--offload-num-in-group", "1"),
        *("--offload-prefetch-step", "1"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kv-fp8+kv-int8", "changes the cache: kv-fp8 does"),
        ("fp8+int8", "changes the weights"),
        ("fp8+fp8", "changes the weights"),
        ("cpu-offload", "cpu-offload:VALUE, a size such as 8GiB"),
        ("cpu-offload:0GiB", "a size such as 8GiB"),
        ("variant:", "a directory or a Hugging Face id"),
        ("variant:--trust-remote-code", "a directory or a Hugging Face id"),
        ("variant:a+awq:b", "changes the checkpoint: variant:a does"),
        ("fp8:4", "fp8 stands alone"),
        ("expert-offload:residents=2", "resident, memory, share"),
        ("expert-offload:resident=0", "1 to 65536"),
        ("expert-offload:share=1.5", "a share over 0 up to 1"),
        ("expert-offload:resident=2:resident=3", "each knob once"),
        ("expert-offload:resident=2:skip=1.5", "0 to 1, such as 0.05"),
        ("expert-offload:resident=2:split=model", "none, layers"),
        ("none+fp8", "none alone, or methods"),
        ("bnb-nf4+hqq", "changes the quantisation: bnb-nf4 does"),
        ("int8+bnb-nf4", "changes the quantisation: int8 does"),
        ("expert-offload:resident=2+hqq", "changes the experts: expert-offload:resident=2 does"),
        ("hqq:bits=5", "8, 4, 3, 2"),
        ("hqq:group=24", "8, 16, 32, 64, 128, 256"),
        ("bnb-nf4:group=64", "bnb-nf4 stands alone"),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_is_allowed(text: str, told: str) -> None:
    with pytest.raises((BadValue, UnknownName), match=r".*") as refused:
        parse_technique(text)
    assert told in str(refused.value)


def test_a_slip_is_answered_with_what_was_probably_meant() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean kv-fp8"):
        parse_technique("int8+kvfp8")
    with pytest.raises(UnknownName, match=r"Did you mean torchao-int8"):
        parse_technique("torchao:int8")


def test_an_engine_that_cannot_says_which_one_can() -> None:
    offload = parse_technique("expert-offload:resident=2")
    with pytest.raises(BadValue, match=r"engine vllm: none, .*needs --engine transformers"):
        refuse_unable(offload, "vllm")
    refuse_unable(offload, "transformers")
    with pytest.raises(BadValue, match=r"needs --engine vllm"):
        refuse_unable(parse_technique("kv-int8"), "simulated")
    with pytest.raises(BadValue, match="--endpoint"):
        refuse_unable(parse_technique("label:llama.cpp"), "vllm")
    assert methods_of("unheard-of") == ("none",)


def test_offloading_needs_exactly_one_budget_and_groups_that_hold_their_layers() -> None:
    ahead = parse_technique("expert-offload:resident=2:ahead=3")
    with pytest.raises(
        BadValue, match="ahead of expert-offload: got '3', allowed: beside prefetch"
    ):
        refuse_unable(ahead, "transformers")
    for text in ("expert-offload", "expert-offload:resident=1:share=0.5"):
        with pytest.raises(BadValue, match="one of resident=N"):
            refuse_unable(parse_technique(text), "transformers")
    with pytest.raises(BadValue, match="up to group = 2"):
        refuse_unable(parse_technique("layer-offload:group=2:layers=3"), "vllm")


def test_a_cpu_without_the_instructions_is_told_before_the_server_is() -> None:
    with pytest.raises(BadValue, match=r"none, .*bf16.*kv-fp8 needs avx512f or amx_tile"):
        refuse_on_cpu(parse_technique("kv-fp8"), AVX2, "vllm")
    refuse_on_cpu(parse_technique("int8+kv-fp8"), SAPPHIRE_RAPIDS, "vllm")
    with pytest.raises(BadValue, match="needs a GPU"):
        refuse_on_cpu(parse_technique("cpu-offload:1GiB"), SAPPHIRE_RAPIDS, "vllm")
    refuse_on_cpu(parse_technique("bf16"), AVX2, "vllm")


def weights_of(model: Model) -> float:
    """Bytes of one copy of all weights: what a layout of one GPU holds."""
    return memory(model, Layout(), gpu("H200")).weight_bytes


def test_stored_bytes_follow_the_types_of_weights_and_experts() -> None:
    mixtral = MODELS["Mixtral-8x7B"]
    assert mixtral.experts is not None
    whole, tables = weights_of(mixtral), 2 * mixtral.embedding_params
    halved = (whole + tables) / 2  # embedding and head keep 16 bits
    assert weights_of(parse_technique("fp8").stored(mixtral)) == halved
    assert weights_of(parse_technique("fp32").stored(mixtral)) == whole * 2
    experts = mixtral.experts.layers * mixtral.experts.count
    saved = experts * mixtral.experts.params_per_expert(mixtral.hidden)
    assert weights_of(parse_technique("int8").stored(mixtral)) == whole - saved
    assert parse_technique("kv-fp8").stored(mixtral) == mixtral
    for name in ("bf16+torchao-int8", "torchao-int8+bf16"):
        assert weights_of(parse_technique(name).stored(mixtral)) == halved


def test_scales_of_groups_come_on_top_of_a_type_so_that_only_the_least_bytes_are_known() -> None:
    mixtral = MODELS["Mixtral-8x7B"]
    nf4, hqq = parse_technique("bnb-nf4"), parse_technique("hqq:bits=2")
    tables = 2 * mixtral.embedding_params
    least = (weights_of(mixtral) - tables) / 4 + tables
    assert weights_of(nf4.stored(mixtral)) == least
    assert (nf4.memory_known, nf4.weights_known) == (False, True)
    assert (hqq.memory_known, hqq.weights_known) == (False, False)
    assert parse_technique("bnb-int8").memory_known


@pytest.mark.parametrize("text", ["fp8,", ",", ""])
def test_a_list_with_a_gap_has_no_arm_that_nobody_named(text: str) -> None:
    with pytest.raises(BadValue, match="none is one"):
        parse_techniques([text])
    assert parse_technique("").name == "none", "as a table of results leaves it"
