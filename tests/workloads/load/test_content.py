"""What prompts share, in blocks as in tokens."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.load.content import Content, Segment

KEYS = st.integers(1, 6)
SHAPES = {key: 3 + 5 * key for key in range(1, 7)}


def chain(*pieces: tuple[int, int]) -> tuple[Segment, ...]:
    return tuple(Segment(key, tokens) for key, tokens in pieces)


def common(first: np.ndarray, second: np.ndarray) -> int:
    """Length of the longest common prefix."""
    least = min(len(first), len(second))
    differing = np.flatnonzero(first[:least] != second[:least])
    return int(differing[0]) if len(differing) else least


def test_prompts_share_just_the_leading_segments_and_not_a_token_more() -> None:
    content = Content([chain((1, 40), (2, 9)), chain((1, 40), (3, 30)), chain((4, 40), (2, 9))])
    first, second, third = (np.asarray(each) for each in content.prompts(7, 50))
    assert [len(first), len(second), len(third)] == [49, 70, 49]
    assert common(first, second) == 40
    assert common(first, third) == 0
    assert np.array_equal(first[40:], third[40:]), "a key's tokens are the same wherever it stands"


def test_a_shorter_piece_of_a_key_is_the_beginning_of_a_longer_one() -> None:
    content = Content([chain((1, 5)), chain((1, 300)), chain((1, 33))])
    for vocab in (2, 256, 50_304, 65_536, 151_936):
        short, long, middle = (np.asarray(each) for each in content.prompts(3, vocab))
        assert np.array_equal(short, long[:5])
        assert np.array_equal(middle, long[:33])


@pytest.mark.slow
@given(st.lists(st.lists(KEYS, min_size=1, max_size=5), min_size=2, max_size=4), st.integers(1, 9))
def test_blocks_are_equal_exactly_as_far_as_the_tokens_are(
    chains: list[list[int]], block: int
) -> None:
    content = Content([chain(*((key, SHAPES[key]) for key in keys)) for keys in chains])
    prompts = [np.asarray(each) for each in content.prompts(11, 1_000_000)]
    blocks = [content.blocks(number, block) for number in range(len(chains))]
    assert [len(each) for each in blocks] == [len(prompt) // block for prompt in prompts]
    for one in range(len(chains)):
        for other in range(one):
            alike = sum(a == b for a, b in zip(blocks[one], blocks[other], strict=False))
            assert alike == common(prompts[one], prompts[other]) // block


def test_a_file_s_own_ids_have_blocks_by_what_they_hold() -> None:
    ids = np.arange(40, dtype=np.int32)
    other = np.concatenate([ids[:20], ids[:20]])
    content = Content([(), ()], {0: ids, 1: other})
    first, second = content.blocks(0, 16), content.blocks(1, 16)
    assert (len(first), first[0] == second[0], first[1] == second[1]) == (2, True, False)
    assert content.tokens_of(1) == 40


def test_a_text_that_nobody_has_tokenised_has_no_length_and_no_block() -> None:
    content = Content([()], {0: "to be counted"})
    assert content.tokens_of(0) is None
    assert content.blocks(0, 1) == ()


def test_what_can_be_shared_is_what_came_before_but_never_a_prompt_s_last_token() -> None:
    """By hand: the second begins with 17 tokens of the first, the third is the second."""
    content = Content([chain((1, 17), (2, 8)), chain((1, 17), (3, 16)), chain((1, 17), (3, 16))])
    assert content.shareable_tokens() == 17 + 32
    ids = np.arange(40, dtype=np.int32)
    assert Content([(), ()], {0: ids, 1: ids}).shareable_tokens() == 32
