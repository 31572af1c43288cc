"""Offloaded experts of tiny models: the same tokens, within the budget, at what hit rate."""

import argparse
import importlib.util
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from servers.huggingface.decoder import CompletionRequest
from servers.huggingface.decoder_registry import Loaded, decoder_module
from workloads.quality.compare import compare
from workloads.quality.scores import Scores

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")),
        reason="needs moeserve[hf]",
    ),
]
PROMPTS = [tuple(7 * place % 500 + start for place in range(24)) for start in range(3)]
NEW_TOKENS = 24
Quality = Callable[[Loaded], Coroutine[Any, Any, Scores]]


def load(decoder: str, model: str, *words: str) -> Any:
    return loaded(decoder, model, *words).decoder


def loaded(decoder: str, model: str, *words: str) -> Loaded:
    module = decoder_module(decoder)
    parser = argparse.ArgumentParser()
    parser.add_argument("--model")
    module.add_arguments(parser)
    return module.load(parser.parse_args(["--model", model, *words]))


def answers(decoder: Any, prompts: Sequence[tuple[int, ...]] = PROMPTS) -> list[list[int]]:
    found = []
    for prompt in prompts:
        passes = decoder.decode([CompletionRequest(prompt, NEW_TOKENS, True)])
        found.append([token for pieces in passes for piece in pieces for token in piece.tokens])
    return found


@pytest.fixture(scope="module")
def plain() -> list[list[int]]:
    return answers(load("causal", "tiny-mixtral"))


@pytest.mark.parametrize(
    "words",
    [
        ("--resident", "1"),
        ("--resident", "8"),
        ("--share", "0.07"),
        ("--share", "0.5", "--cache", "activation"),
        ("--resident", "2", "--prefetch", "2"),
        ("--share", "0.3", "--prefetch", "3", "--cache", "activation"),
        ("--resident", "2", "--compute", "host"),
        ("--share", "0.25", "--compute", "measured"),
        ("--share", "0.5", "--prefetch", "2", "--ahead", "2", "--split", "layers"),
    ],
)
def test_the_tokens_are_those_without_offloading_and_the_budget_holds(
    plain: list[list[int]], words: tuple[str, ...]
) -> None:
    decoder = load("offload", "tiny-mixtral", *words)
    assert answers(decoder) == plain
    held = decoder.residency
    assert 0 < held.peak_bytes <= held.arena.nbytes
    assert held.arena.count == decoder.details["resident_experts"]
    counted = decoder.counters()
    assert counted["expert_hits"] + counted["expert_misses"] > 0


def test_many_small_experts_in_another_family_agree_too() -> None:
    expected = answers(load("causal", "tiny-olmoe"), PROMPTS[:1])
    assert answers(load("offload", "tiny-olmoe", "--share", "0.25"), PROMPTS[:1]) == expected


def test_hit_rates_fall_and_bytes_moved_rise_as_the_cache_shrinks() -> None:
    rates, moved = [], []
    for resident in (8, 6, 4, 2, 1):
        decoder = load("offload", "tiny-mixtral", "--resident", str(resident))
        answers(decoder)
        counted = decoder.counters()
        rates.append(counted["expert_hits"] / (counted["expert_hits"] + counted["expert_misses"]))
        moved.append(counted["expert_moved_bytes"])
        assert counted["expert_moved_bytes"] == (
            (counted["expert_misses"] + counted["expert_prefetched"])
            * decoder.details["expert_bytes"]
        )
    assert rates == sorted(rates, reverse=True)
    assert moved == sorted(moved)
    assert rates[0] > 0.9 > 0.5 > rates[-1]


def test_experts_of_one_layer_offloaded_give_the_very_bits_of_the_loop_over_experts() -> None:
    import torch
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    from servers.huggingface.offload.install import install
    from servers.huggingface.offload.options import OffloadOptions

    torch.manual_seed(0)
    config = MixtralConfig(
        hidden_size=32, intermediate_size=48, num_local_experts=8, num_experts_per_tok=3
    )
    config._experts_implementation = "eager"
    blocks = torch.nn.ModuleList([MixtralSparseMoeBlock(config) for _ in range(2)])
    for parameter in blocks.parameters():
        torch.nn.init.normal_(parameter)
    tokens = torch.randn(1, 40, 32)
    with torch.inference_mode():
        expected = [block(tokens) for block in blocks]
        install(blocks, OffloadOptions(resident=2, prefetch=1), device="cpu")
        for block, wanted in zip(blocks, expected, strict=True):
            assert torch.equal(block(tokens), wanted)


def test_int8_rounds_each_row_within_half_a_step() -> None:
    import torch

    from servers.huggingface.offload.packed import pack

    torch.manual_seed(1)
    gate_up, down = torch.randn(3, 20, 8) * 5, torch.randn(3, 8, 10)
    gate_up[1, 4] = 0.0
    packed = pack(gate_up, down, int8=True, pinned=False)
    for expert in range(3):
        for exact, rounded in zip(
            (gate_up[expert], down[expert]), packed.matrices(expert), strict=True
        ):
            step = exact.abs().amax(dim=1, keepdim=True) / 127
            assert ((exact - rounded).abs() <= step / 2 + 1e-6).all()
    assert packed.expert_bytes == 3 * 8 * 10 + 4 * (20 + 8)


async def test_int8_perplexity_stands_beside_full_precision_over_http(
    quality_over_http: Quality,
) -> None:
    import torch

    plain = loaded("causal", "tiny-mixtral")
    full = await quality_over_http(plain)
    losses = []
    model: Any = plain.decoder
    for window in full.tokens:
        ids = torch.tensor(window.tolist())[None]
        with torch.inference_mode():
            losses.append(float(model.model(ids, labels=ids).loss))
    assert full.perplexity == pytest.approx(np.exp(np.mean(losses)), rel=1e-3)
    int8 = compare(
        await quality_over_http(
            loaded("offload", "tiny-mixtral", "--share", "1", "--experts", "int8")
        ),
        full,
    )
    assert int8.perplexity_ratio != 1.0
    assert abs(int8.perplexity_ratio - 1) < 0.05
    assert int8.token_agreement is not None
    assert 0.5 < int8.token_agreement < 1.0
    offloaded = await quality_over_http(loaded("offload", "tiny-mixtral", "--resident", "2"))
    same = compare(offloaded, full)
    assert same.token_agreement == 1.0
    assert same.perplexity_ratio == pytest.approx(1.0, rel=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "words", [("--resident", "2", "--prefetch", "2"), ("--share", "0.25", "--compute", "measured")]
)
def test_on_a_gpu_the_tokens_are_those_without_offloading_too(words: tuple[str, ...]) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    expected = answers(load("causal", "tiny-mixtral", "--device", "cuda"))
    decoder = load("offload", "tiny-mixtral", "--device", "cuda", *words)
    assert answers(decoder) == expected
    assert decoder.residency.peak_bytes <= decoder.residency.arena.nbytes
