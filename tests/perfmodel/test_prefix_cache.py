"""The prefix cache: by hand, and against a plain one that finds blocks by all of their tokens."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue
from perfmodel.batching import Batcher, BatchLimits
from perfmodel.prefix_cache import block_hashes
from tests.perfmodel.naive_cache import SIZE, Naive, Request


def limits(blocks: int, **more: Any) -> BatchLimits:
    return BatchLimits(kv_blocks=blocks, block_tokens=SIZE, prefix_caching=True, **more)


def add(batcher: Batcher, number: int, request: Request) -> None:
    prompt, answer = request
    hashes = block_hashes(prompt + answer, SIZE)
    batcher.add(number, prompt_tokens=len(prompt), output_tokens=len(answer), hashes=hashes)


def serve(batcher: Batcher, *, ahead: bool = False) -> dict[int, int]:
    """Run until all is done; return what was found of each request when it first began."""
    found: dict[int, int] = {}
    while (step := batcher.plan()) is not None:
        for sequence, _ in step.work:
            found.setdefault(sequence.request, sequence.cached_tokens)
        batcher.commit(step, batcher.steady_steps(step) if ahead else 1)
    return found


def one_by_one(blocks: int, requests: list[Request]) -> list[int]:
    batcher = Batcher(limits(blocks))
    found = []
    for number, request in enumerate(requests):
        add(batcher, number, request)
        found.append(serve(batcher)[number])
    assert batcher.kv_usage == 0.0
    return found


A, B = [1] * 8, [2] * 8  # two blocks each


def test_full_blocks_of_a_common_beginning_are_found_and_the_last_token_is_not() -> None:
    asked = [([*A, 5], [9]), ([*A, 6], [9]), (A, [9]), ([*A[:7], 3], [9]), ([7, *A], [9])]
    # Of eight tokens that are all cached the last is computed anew, and with it its block.
    assert one_by_one(20, asked) == [0, 8, 4, 4, 0]


def test_an_answer_is_found_by_the_turn_that_repeats_it() -> None:
    # Five tokens and seven of the answer are twelve, but the last of them was never computed.
    first = ([1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11, 12])
    assert one_by_one(20, [first, (first[0] + first[1] + [13, 14], [0])]) == [0, 8]


def test_the_longest_unused_goes_first_and_of_one_request_its_end() -> None:
    # Four blocks. A and then B fill them; one more block takes the end of A, then its beginning.
    assert one_by_one(4, [(A, [9]), (B, [9]), ([3, 3, 3], [9]), ([*A, 4], [9])]) == [0, 0, 0, 4]
    assert one_by_one(4, [(A, [9]), (B, [9]), ([3] * 8, [9]), ([*A, 4], [9])]) == [0, 0, 0, 0]
    # Had A been used meanwhile, B would have gone: its end for A's last token, then its beginning.
    used = [(A, [9]), (B, [9]), (A, [9]), ([3] * 4, [9]), ([*A, 4], [9]), (B, [9])]
    assert one_by_one(4, used) == [0, 0, 4, 0, 8, 0]


def test_blocks_that_were_never_full_are_handed_out_before_cached_ones() -> None:
    # A and a lone token: its block comes back to the front, so three short ones evict nothing.
    short: list[Request] = [([n], [9]) for n in (5, 6, 7)]
    assert one_by_one(3, [(A, [9]), *short, ([*A, 1], [9])]) == [0, 0, 0, 0, 8]


def test_requests_of_one_step_share_already() -> None:
    batcher = Batcher(limits(20))
    for number in range(3):
        add(batcher, number, ([*A, number], [9, 9]))
    assert serve(batcher) == {0: 0, 1: 8, 2: 8}
    assert (batcher.prefix_queries, batcher.prefix_hits) == (27, 16)
    # Two shared blocks and one each.
    assert batcher.peak_kv_usage == 5 / 20


def test_without_hashes_or_without_the_cache_nothing_is_shared() -> None:
    batcher = Batcher(limits(20))
    for number in range(2):
        batcher.add(number, prompt_tokens=9, output_tokens=1)
    assert serve(batcher) == {0: 0, 1: 0}
    off = Batcher(BatchLimits(kv_blocks=20, block_tokens=SIZE))
    for number in range(2):
        add(off, number, (A, [9]))
    assert serve(off) == {0: 0, 1: 0}
    assert (off.prefix_queries, off.prefix_hits) == (0, 0)


def test_prompts_all_seen_before_and_a_cache_that_sees_them_are_two_things() -> None:
    with pytest.raises(BadValue, match="one of prefix_cached and prefix_caching"):
        limits(9, prefix_cached=True)


LONG = np.random.default_rng(0).integers(2, size=(2, 40)).tolist()


def crowded(rng: np.random.Generator) -> tuple[list[Request], BatchLimits]:
    """Return requests that are pieces of two long texts, and a server too small for them."""
    requests = []
    for _ in range(rng.integers(2, 13)):
        tokens = LONG[rng.integers(2)][: rng.integers(2, 31)]
        prompt = rng.integers(1, len(tokens))
        requests.append((tokens[:prompt], tokens[prompt:]))
    budget, slots = int(rng.integers(4, 41)), int(rng.integers(2, 5))
    small = limits(int(rng.integers(8, 15)), max_num_batched_tokens=budget, max_num_seqs=slots)
    return requests, small


@pytest.mark.slow
def test_every_hit_and_every_preemption_is_that_of_the_plain_cache() -> None:
    for seed in range(1500):
        requests, small = crowded(np.random.default_rng(seed))
        budget, slots = small.max_num_batched_tokens, small.max_num_seqs
        plain = Naive(small.kv_blocks, budget, slots, requests).serve()
        for ahead in (False, True):
            batcher = Batcher(small)
            for number, request in enumerate(requests):
                add(batcher, number, request)
            assert serve(batcher, ahead=ahead) == plain.hits, seed
            assert batcher.preemptions == plain.preemptions, seed
            assert batcher.prefix_hits == sum(plain.hits.values())
            assert batcher.kv_usage == 0.0


@pytest.mark.slow
@given(
    st.lists(st.integers(0, 2**20), max_size=40),
    st.lists(st.integers(0, 2**20), max_size=40),
    st.sampled_from([1, 4, 16]),
)
def test_hashes_agree_exactly_as_far_as_the_tokens_do(
    first: list[int], second: list[int], size: int
) -> None:
    ours, theirs = block_hashes(first, size), block_hashes(second, size)
    assert (len(ours), len(theirs)) == (len(first) // size, len(second) // size)
    for index, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        until = (index + 1) * size
        assert (one == other) == (first[:until] == second[:until])
    assert block_hashes(np.array(first, np.int64), size) == ours
