"""A run's requests: lengths, shares, prefixes and turns as stated, and the same from one seed."""

from itertools import pairwise

import numpy as np
import pytest

from workloads.load.draw import draw
from workloads.load.profiles import parse_workload
from workloads.load.traffic import Requests


def requests(text: str, *, seed: int = 0, count: int | None = None) -> Requests:
    workload = parse_workload(text)
    number = workload.prompts_for(8) if count is None else count
    return draw(workload, np.random.default_rng(seed), number)


def prompts(drawn: Requests, seed: int = 1, vocab: int = 50_000) -> list[np.ndarray]:
    return [np.asarray(each) for each in drawn.prompts(np.random.default_rng(seed), vocab)]


def common(first: np.ndarray, second: np.ndarray) -> int:
    least = min(len(first), len(second))
    differing = np.flatnonzero(first[:least] != second[:least])
    return int(differing[0]) if len(differing) else least


def test_uniform_lengths_are_within_their_bounds_both_included() -> None:
    drawn = requests("3-5:7-8:auto", count=400)
    assert set(drawn.input_lens) == {3, 4, 5}
    assert set(drawn.output_lens) == {7, 8}
    assert drawn.content is not None
    assert [len(each) for each in prompts(drawn)] == drawn.input_lens.tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "cv"), [(512, 0.5), (128, 1.0), (2048, 0.97)])
def test_lognormal_lengths_have_the_mean_and_the_coefficient_of_variation(
    mean: int, cv: float
) -> None:
    drawn = requests(f"{mean}~{cv}:8:auto", count=20_000).input_lens
    assert drawn.mean() == pytest.approx(mean, rel=0.02)
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.05)
    assert drawn.max() <= parse_workload(f"{mean}~{cv}:8:auto").longest_tokens - 8


def test_traffic_is_the_same_to_the_bit_from_one_seed_and_another_from_another() -> None:
    text = "20-40:5~0.5:30,prefix=16x3,turns=2,think=1~1"
    first, again, other = requests(text), requests(text), requests(text, seed=1)
    for name in ("input_lens", "output_lens", "session", "turn", "think_s"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.input_lens, other.input_lens)
    pairs = zip(prompts(first), prompts(again), strict=True)
    assert all(np.array_equal(one, two) for one, two in pairs)


def test_prefixes_are_shared_by_equal_shares_and_nothing_else_is() -> None:
    drawn = requests("20-40:5:24,prefix=64x3")
    written = prompts(drawn, vocab=300)
    heads: dict[bytes, list[int]] = {}
    for number, prompt in enumerate(written):
        heads.setdefault(prompt[:64].tobytes(), []).append(number)
    assert sorted(map(len, heads.values())) == [8, 8, 8]
    for members in heads.values():
        for one, other in pairwise(members):
            assert common(written[one], written[other]) == 64
    firsts = [written[members[0]] for members in heads.values()]
    assert common(firsts[0], firsts[1]) == common(firsts[1], firsts[2]) == 0


def test_a_turn_s_prompt_is_the_earlier_prompt_its_answer_and_what_is_new() -> None:
    drawn = requests("30:7:10,turns=3,think=2")
    written = prompts(drawn)
    assert drawn.session.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]
    assert drawn.turn.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert drawn.think_s.tolist() == [0, 2, 2, 0, 2, 2, 0, 2, 2, 0]
    assert drawn.input_lens[:3].tolist() == [30, 67, 104]
    assert common(written[0], written[1]) == 30
    assert common(written[1], written[2]) == 67
    assert common(written[0], written[3]) == 0
    turns = drawn.turns
    assert turns is not None
    assert turns.following == [1, 2, -1, 4, 5, -1, 7, 8, -1, -1]
    assert turns.first == [0, 3, 6, 9]


def test_a_mix_has_each_part_s_share_exactly_and_in_a_drawn_order() -> None:
    drawn = requests("chat=10:3@0.7+rag=50:9@0.2+long=90:1@0.1,prompts=37")
    counts = np.bincount(drawn.part_of)
    assert drawn.parts == ("chat", "rag", "long")
    assert counts.tolist() == [26, 7, 4]
    assert drawn.input_lens.tolist() == [(10, 50, 90)[part] for part in drawn.part_of]
    assert len(set(drawn.part_of[:12].tolist())) > 1


def test_natural_ends_are_of_their_part_alone() -> None:
    drawn = requests("a=10:3,natural@1+b=20:3@1,prompts=8")
    assert drawn.natural.tolist() == [part == 0 for part in drawn.part_of]


def test_one_length_each_is_drawn_as_it_ever_was() -> None:
    drawn = requests("16:32:8")
    assert drawn.content is None
    assert drawn.turns is None
    written = drawn.prompts(np.random.default_rng(5), 100)
    expected = np.random.default_rng(5).choice(np.arange(100, dtype=np.int32), (8, 16))
    assert np.array_equal(np.asarray(written), expected)
