"""The batcher: what it promises whatever is asked of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadValue, Infeasible
from perfmodel.batching import Batcher, BatchLimits, Step

LENGTHS = st.tuples(st.integers(1, 60), st.integers(1, 40))
LIMITS = st.builds(
    BatchLimits,
    kv_blocks=st.integers(7, 40),
    max_num_batched_tokens=st.integers(8, 64),
    max_num_seqs=st.integers(1, 8),
    prefix_cached=st.booleans(),
    window=st.sampled_from([None, 16]),
)


def fill(batcher: Batcher, lengths: list[tuple[int, int]]) -> None:
    for request, (prompt, output) in enumerate(lengths):
        batcher.add(request, prompt_tokens=prompt, output_tokens=output)


def blocks_held(batcher: Batcher) -> int:
    return sum(sequence.blocks for sequence in batcher._running)


def steps_of(batcher: Batcher) -> list[Step]:
    steps = []
    while (step := batcher.plan()) is not None:
        steps.append(step)
        batcher.commit(step)
    return steps


@pytest.mark.slow
@given(LIMITS, st.lists(LENGTHS, min_size=1, max_size=12))
def test_every_request_ends_with_exactly_its_output_tokens(
    limits: BatchLimits, lengths: list[tuple[int, int]]
) -> None:
    batcher = Batcher(limits)
    fill(batcher, lengths)
    tokens = [0] * len(lengths)
    finished: list[int] = []
    while (step := batcher.plan()) is not None:
        for request, ended in batcher.commit(step):
            tokens[request] += 1
            if ended:
                finished.append(request)
    assert tokens == [output for _, output in lengths]
    assert sorted(finished) == list(range(len(lengths)))
    assert batcher.num_unfinished == 0
    assert batcher.kv_usage == 0.0


@pytest.mark.slow
@given(LIMITS, st.lists(LENGTHS, min_size=1, max_size=12))
def test_no_step_exceeds_a_limit_and_blocks_are_conserved(
    limits: BatchLimits, lengths: list[tuple[int, int]]
) -> None:
    batcher = Batcher(limits)
    fill(batcher, lengths)
    while (step := batcher.plan()) is not None:
        assert 0 < sum(tokens for _, tokens in step.work) <= limits.max_num_batched_tokens
        assert step.load.tokens == sum(tokens for _, tokens in step.work)
        assert batcher.num_running <= limits.max_num_seqs
        held = blocks_held(batcher)
        assert held <= limits.kv_blocks
        assert batcher.kv_usage == held / limits.kv_blocks
        for sequence, tokens in step.work:
            assert sequence.blocks * limits.block_tokens >= sequence.computed + tokens
        batcher.commit(step)


@pytest.mark.slow
@given(LIMITS, st.lists(LENGTHS, min_size=1, max_size=12))
def test_requests_start_in_order_of_arrival(
    limits: BatchLimits, lengths: list[tuple[int, int]]
) -> None:
    batcher = Batcher(limits)
    fill(batcher, lengths)
    started = [sequence.request for step in steps_of(batcher) for sequence, _ in step.work]
    first = list(dict.fromkeys(started))
    assert first == sorted(first)


@pytest.mark.slow
@given(LIMITS, st.lists(LENGTHS, min_size=1, max_size=12))
def test_running_ahead_equals_stepping_one_by_one(
    limits: BatchLimits, lengths: list[tuple[int, int]]
) -> None:
    def totals(ahead: bool) -> list[tuple[int, int]]:
        batcher = Batcher(limits)
        fill(batcher, lengths)
        seen = []
        while (step := batcher.plan()) is not None:
            steps = batcher.steady_steps(step) if ahead else 1
            for j in range(steps):
                load = step.load
                seen.append(
                    (
                        load.tokens,
                        load.sampled,
                        load.kv_tokens + j * load.decode_sequences,
                        load.windowed_kv_tokens
                        + j * (load.decode_sequences if limits.window is None else 0)
                        + j * load.windowed_growth,
                    )
                )
            batcher.commit(step, steps)
        return seen

    assert totals(ahead=True) == totals(ahead=False)


@pytest.mark.slow
@given(LIMITS, st.lists(LENGTHS, min_size=2, max_size=12), st.data())
def test_an_abort_at_any_moment_frees_its_blocks_and_harms_no_other(
    limits: BatchLimits, lengths: list[tuple[int, int]], data: Any
) -> None:
    batcher = Batcher(limits)
    fill(batcher, lengths)
    victim = data.draw(st.integers(0, len(lengths) - 1))
    when = data.draw(st.integers(0, 20))
    tokens = [0] * len(lengths)
    turn = 0
    while (step := batcher.plan()) is not None:
        if turn == when:
            batcher.abort(victim)
        turn += 1
        for request, _ in batcher.commit(step):
            assert request != victim or turn <= when
            tokens[request] += 1
    others = [output for request, (_, output) in enumerate(lengths) if request != victim]
    assert [count for request, count in enumerate(tokens) if request != victim] == others
    assert batcher.kv_usage == 0.0


def test_a_prompt_is_computed_in_chunks_beside_the_decodes() -> None:
    batcher = Batcher(BatchLimits(kv_blocks=100, max_num_batched_tokens=32, max_num_seqs=4))
    batcher.add(0, prompt_tokens=10, output_tokens=5)
    batcher.add(1, prompt_tokens=60, output_tokens=2)
    loads = [step.load for step in steps_of(batcher)]
    assert [(load.prefill_tokens, load.decode_sequences) for load in loads] == [
        (32, 0),  # all of the first prompt and 22 tokens of the second
        (31, 1),
        (7, 1),
        (0, 2),
        (0, 1),
    ]
    assert [load.sampled for load in loads] == [1, 1, 2, 2, 1]
    assert loads[1].kv_tokens == 11 + 53
    assert loads[1].pairs == 11 + sum(range(23, 54))


def test_the_last_to_start_is_preempted_and_computed_anew() -> None:
    # Two sequences of 16 + 16 cache entries want four blocks; there are three.
    batcher = Batcher(BatchLimits(kv_blocks=3))
    for request in range(2):
        batcher.add(request, prompt_tokens=16, output_tokens=17)
    steps = steps_of(batcher)
    assert batcher.preemptions == 1
    again = [n for step in steps for sequence, n in step.work if sequence.request == 1 and n > 1]
    assert again == [16, 17]  # the prompt, then the prompt and the token it had produced
    assert batcher.peak_kv_usage == 1.0


def test_a_cached_prompt_costs_one_block() -> None:
    batcher = Batcher(BatchLimits(kv_blocks=100, prefix_cached=True))
    batcher.add(0, prompt_tokens=128, output_tokens=1)
    (step,) = steps_of(batcher)
    assert step.load.prefill_tokens == 16  # 127 tokens may be reused: seven blocks of 16
    assert step.load.kv_tokens == 128


def test_a_request_that_can_never_fit_is_refused() -> None:
    batcher = Batcher(BatchLimits(kv_blocks=2))
    batcher.add(0, prompt_tokens=30, output_tokens=3)
    with pytest.raises(Infeasible, match="33 tokens: the KV cache holds 32"):
        batcher.add(1, prompt_tokens=30, output_tokens=4)


@pytest.mark.parametrize("tokens", [(0, 1), (1, 0), (-3, 2)])
def test_requests_without_tokens_are_refused(tokens: tuple[int, ...]) -> None:
    batcher = Batcher(BatchLimits(kv_blocks=2))
    with pytest.raises(BadValue, match="1 or more each"):
        batcher.add(0, prompt_tokens=tokens[0], output_tokens=tokens[1])


def test_more_sequences_than_tokens_in_a_step_are_refused() -> None:
    with pytest.raises(BadValue, match="max_num_seqs"):
        BatchLimits(kv_blocks=2, max_num_batched_tokens=8, max_num_seqs=9)
