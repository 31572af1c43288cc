"""The diffusion decoder against the published algorithm, and its shortcuts against itself."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from diffusion_study.measure import timed
from servers.huggingface.decoder import CompletionRequest
from servers.huggingface.diffusion.options import DiffusionOptions

pytestmark = pytest.mark.slow  # torch alone takes seconds to import

PAIR = ("tiny-llada", "tiny-llada-moe")
PROMPTS = [[(7 * place + 11 * start) % 500 for place in range(12)] for start in range(3)]
Make = Callable[..., Any]


def answer(decoder: Any, prompt: Sequence[int], length: int) -> tuple[int, ...]:
    return timed(decoder, prompt, length)[0]


def published(decoder: Any, prompt: list[int], *, length: int) -> list[int]:
    """Sample as LLaDA's algorithm 5 says, one token at a time and in double precision."""
    import torch

    model, mask = decoder.backbone.model, decoder.backbone.mask_id
    block, steps = decoder.options.block_length, decoder.options.steps
    ids = prompt + [mask] * length
    blocks = length // block
    for first in range(len(prompt), len(ids), block):
        open_ = set(range(first, first + block))
        for step in range(steps // blocks):
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0].double().numpy()
            logits[:, mask] = -np.inf
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            confidence = (shares / shares.sum(axis=1, keepdims=True)).max(axis=1)
            left = steps // blocks - step
            committed = sorted(open_, key=lambda place: -confidence[place])[
                : -(-len(open_) // left)
            ]
            for place in committed:
                ids[place] = int(logits[place].argmax())
            open_ -= set(committed)
    return ids[len(prompt) :]


@pytest.mark.parametrize("name", PAIR)
@pytest.mark.parametrize(("steps", "block"), [(16, 16), (16, 4), (4, 8), (6, 8)])
def test_the_tokens_are_those_of_the_published_algorithm(
    decoder: Make, name: str, steps: int, block: int
) -> None:
    plain = decoder(name, DiffusionOptions(steps=steps, block_length=block, experts="loop"))
    for prompt in PROMPTS[:2]:
        assert list(answer(plain, prompt, 16)) == published(plain, prompt, length=16)


@pytest.mark.parametrize("name", PAIR)
def test_attention_looks_both_ways(decoder: Make, name: str) -> None:
    import torch

    model = decoder(name, DiffusionOptions()).backbone.model
    prompt = torch.tensor([PROMPTS[0]])
    changed = prompt.clone()
    changed[0, -1] = 499
    with torch.inference_mode():
        before, after = model(prompt).logits[0, 0], model(changed).logits[0, 0]
    assert not torch.allclose(before, after)


def test_a_loop_batched_and_grouped_experts_give_identical_tokens(decoder: Make) -> None:
    for prompt in PROMPTS:
        found = {
            experts: answer(
                decoder(
                    "tiny-llada-moe", DiffusionOptions(steps=16, block_length=16, experts=experts)
                ),
                prompt,
                32,
            )
            for experts in ("loop", "batched", "grouped")
        }
        assert found["loop"] == found["batched"] == found["grouped"]
        assert len(set(found["loop"])) > 4


@pytest.mark.parametrize("experts", ["batched", "grouped"])
def test_each_way_to_compute_experts_gives_the_loops_numbers(decoder: Make, experts: str) -> None:
    import torch

    logits = {}
    for each in ("loop", experts):
        model = decoder("tiny-llada-moe", DiffusionOptions(experts=each)).backbone.model
        with torch.inference_mode():
            logits[each] = model(torch.tensor([list(range(64))])).logits
    torch.testing.assert_close(logits["loop"], logits[experts], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PAIR)
@pytest.mark.parametrize("cache", ["prefix", "block"])
def test_a_cache_is_exact_where_keys_cannot_be_out_of_date(
    decoder: Make, name: str, cache: str
) -> None:
    """Of one layer, whose keys hang on their own token alone; and of one step a block."""
    for layers, steps in ((1, 32), (2, 4)):
        plain, cached = (
            DiffusionOptions(steps=steps, block_length=8, kv_cache=each) for each in ("none", cache)
        )
        for prompt in PROMPTS:
            expected = answer(decoder(name, plain, layers=layers), prompt, 32)
            assert answer(decoder(name, cached, layers=layers), prompt, 32) == expected


@pytest.mark.parametrize(("cache", "positions"), [("prefix", 44 + 36 + 28 + 20), ("block", 4 * 8)])
def test_a_cached_pass_computes_its_window_alone(decoder: Make, cache: str, positions: int) -> None:
    backbone = decoder("tiny-llada", DiffusionOptions()).backbone
    before = backbone.positions
    answer(
        decoder("tiny-llada", DiffusionOptions(steps=8, block_length=8, kv_cache=cache)),
        [1] * 12,
        32,
    )
    whole = 4 * (12 + 32)  # one whole pass at the start of each of four blocks
    windows = positions - (4 * 12 if cache == "prefix" else 0)
    assert backbone.positions - before == whole + windows


def test_early_commits_take_fewer_passes_and_none_changes_nothing(decoder: Make) -> None:
    plain = decoder("tiny-llada-moe", DiffusionOptions(steps=32, block_length=8))
    expected, passes_s = timed(plain, PROMPTS[0], 32)
    assert len(passes_s) == 32
    eager = decoder("tiny-llada-moe", DiffusionOptions(steps=32, block_length=8, commit_above=1e-9))
    tokens, passes_s = timed(eager, PROMPTS[0], 32)
    assert len(passes_s) == 4  # everything is probable enough: one pass a block
    one_a_block = decoder("tiny-llada-moe", DiffusionOptions(steps=4, block_length=8))
    assert tokens == answer(one_a_block, PROMPTS[0], 32)
    some = decoder("tiny-llada-moe", DiffusionOptions(steps=32, block_length=8, commit_above=0.6))
    assert 4 < len(timed(some, PROMPTS[0], 32)[1]) < 32
    assert answer(plain, PROMPTS[0], 32) == expected


@pytest.mark.parametrize("name", PAIR)
def test_a_token_is_handed_out_once_and_only_after_all_before_it(decoder: Make, name: str) -> None:
    plain = decoder(name, DiffusionOptions(steps=16, block_length=16))
    passes = list(plain.decode([CompletionRequest(tuple(PROMPTS[0]), 32)]))
    handed = [len(piece.tokens) for pieces in passes for piece in pieces]
    assert sum(handed) == 32
    assert len(passes) == 16
    assert any(not pieces for pieces in passes), "low confidence leaves an early place open"
    assert max(handed) > 1


@pytest.mark.parametrize("name", PAIR)
def test_a_batch_gives_every_prompt_its_own_answer(decoder: Make, name: str) -> None:
    plain = decoder(name, DiffusionOptions(steps=8, block_length=8, commit_above=0.9))
    alone = [answer(plain, prompt, 16) for prompt in PROMPTS]
    together: dict[int, list[int]] = {row: [] for row in range(3)}
    for pieces in plain.decode([CompletionRequest(tuple(prompt), 16) for prompt in PROMPTS]):
        for piece in pieces:
            together[piece.row] += piece.tokens
    assert [tuple(together[row]) for row in range(3)] == alone


def test_a_mask_token_in_the_prompt_is_left_alone_and_none_is_in_the_answer(decoder: Make) -> None:
    plain = decoder("tiny-llada", DiffusionOptions(steps=8, block_length=16))
    tokens = answer(plain, [511, 3, 511], 16)
    assert len(tokens) == 16
    assert 511 not in tokens
