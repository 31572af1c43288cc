"""How an answer is cut into blocks and steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue, UnknownName
from servers.huggingface.diffusion.options import DiffusionOptions, commits, parse_options


@given(
    steps=st.integers(1, 300),
    block_length=st.integers(1, 300),
    length=st.integers(1, 300),
)
def test_blocks_cover_the_answer_once_and_every_block_has_a_step(
    steps: int, block_length: int, length: int
) -> None:
    blocks = list(DiffusionOptions(steps=steps, block_length=block_length).blocks(length))
    assert [position for block, _ in blocks for position in block] == list(range(length))
    assert all(1 <= each <= len(block) for block, each in blocks)
    total = sum(each for _, each in blocks)
    assert total == max(min(steps, length), len(blocks)) or total < len(blocks) + steps


@given(blocks=st.integers(1, 8), block_length=st.integers(1, 64), data=st.data())
def test_even_steps_are_the_same_in_every_block(
    blocks: int, block_length: int, data: st.DataObject
) -> None:
    each = data.draw(st.integers(1, block_length))
    options = DiffusionOptions(steps=each * blocks, block_length=block_length)
    options.check_even(blocks * block_length)
    found = [steps for _, steps in options.blocks(blocks * block_length)]
    assert found == [each] * blocks


@given(masked=st.integers(1, 500), steps=st.integers(1, 500))
def test_every_token_is_committed_once_as_evenly_as_can_be(masked: int, steps: int) -> None:
    counts = commits(masked, steps)
    assert len(counts) == steps
    assert sum(counts) == masked
    assert max(counts) - min(counts) <= 1
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    ("options", "length", "told"),
    [
        (DiffusionOptions(steps=32), 100, "a multiple of the block length 32"),
        (DiffusionOptions(steps=33), 64, "a multiple of 2, the blocks of 32 in 64 tokens"),
        (DiffusionOptions(steps=65), 64, "at most the generation length 64"),
    ],
)
def test_steps_that_do_not_share_out_evenly_are_refused_with_the_way_out(
    options: DiffusionOptions, length: int, told: str
) -> None:
    with pytest.raises(BadValue, match=told):
        options.check_even(length)


def test_the_servers_own_flags_are_read_and_a_slip_is_named() -> None:
    words = ["--steps=32", "--experts", "loop", "--kv-cache=block", "--commit-above", "0.9"]
    found = parse_options(words)
    assert found == DiffusionOptions(steps=32, experts="loop", kv_cache="block", commit_above=0.9)
    with pytest.raises(UnknownName, match="Did you mean --steps"):
        parse_options(["--stepz=32"])
    with pytest.raises(UnknownName, match="Did you mean grouped"):
        parse_options(["--experts=gruoped"])
    with pytest.raises(UnknownName, match="Did you mean prefix"):
        parse_options(["--kv-cache=prefx"])
    for words in (["--steps=0"], ["--block-length=0"], ["--commit-above=1.5"], ["--steps=many"]):
        with pytest.raises(BadValue):
            parse_options(words)
