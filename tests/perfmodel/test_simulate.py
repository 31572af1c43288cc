"""Virtual time: the same token times however they are computed."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.arrays import FloatArray
from perfmodel.batching import BatchLimits
from perfmodel.constants import VLLM_2026
from perfmodel.noise import Noise, launch_factor
from perfmodel.prefix_cache import block_hashes
from perfmodel.simulate import Simulated, simulate
from perfmodel.step import StepModel
from strategies.parse import parse_layout
from workloads.load.dispatch import Dispatcher

LENGTHS = st.lists(st.tuples(st.integers(1, 200), st.integers(1, 60)), min_size=1, max_size=25)


def step_model(
    name: str = "OLMoE-1B-7B", layout: str = "ep", hardware: str = "A100-80GB"
) -> StepModel:
    return StepModel(model(name), parse_layout(layout), gpu(hardware))


def closed(count: int, concurrency: int) -> Dispatcher:
    return Dispatcher(count, max_concurrency=concurrency, due_s=None)


def same(first: Simulated, second: Simulated) -> bool:
    times = zip(first.token_times_s, second.token_times_s, strict=True)
    return all(np.array_equal(a, b) for a, b in times) and np.array_equal(
        first.sent_s, second.sent_s
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    lengths=LENGTHS,
    layout=st.sampled_from(["single", "tp", "ep", "tp+ep", "dp3+ep", "pp2+tp2", "pp3+dp2+ep"]),
    name=st.sampled_from(["OLMoE-1B-7B", "gpt-oss-20b", "LLaDA-8B"]),
    gaps=st.none() | st.lists(st.floats(0, 0.2), min_size=25, max_size=25),
    concurrency=st.integers(1, 12),
    noisy=st.booleans(),
    kv_blocks=st.integers(20, 80),
)
def test_fast_forward_gives_the_times_of_plain_stepping_to_the_last_bit(
    lengths: list[tuple[int, int]],
    layout: str,
    name: str,
    gaps: list[float] | None,
    concurrency: int,
    noisy: bool,
    kv_blocks: int,
) -> None:
    dense = name == "LLaDA-8B"
    layout = layout.replace("dp3+ep", "dp3").replace("+ep", "") if dense else layout
    layout = "dp2" if dense and layout == "ep" else layout
    window = model(name).attention.window
    limits = BatchLimits(
        kv_blocks=kv_blocks, max_num_batched_tokens=128, max_num_seqs=6, window=window
    )
    due_s = None if gaps is None else np.cumsum(gaps)[: len(lengths)].tolist()

    def run(fast_forward: bool) -> Simulated:
        rng = np.random.default_rng(5)
        return simulate(
            Dispatcher(len(lengths), max_concurrency=concurrency, due_s=due_s),
            lengths,
            step_model(name, layout, "H100"),
            limits=limits,
            noise=Noise(rng, launch=launch_factor(rng, 0.02), step_sigma=0.05) if noisy else None,
            fast_forward=fast_forward,
        )

    fast, plain = run(fast_forward=True), run(fast_forward=False)
    assert same(fast, plain)
    assert (fast.steps, fast.preemptions) == (plain.steps, plain.preemptions)
    for bound, seconds in plain.seconds_by_bound.items():
        assert fast.seconds_by_bound[bound] == pytest.approx(seconds)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    lengths=LENGTHS,
    layout=st.sampled_from(["single", "ep", "dp3"]),
    gaps=st.none() | st.lists(st.floats(0, 0.05), min_size=25, max_size=25),
    concurrency=st.integers(1, 12),
    kv_blocks=st.integers(20, 80),
)
def test_fast_forward_finds_in_the_prefix_cache_what_plain_stepping_finds(
    lengths: list[tuple[int, int]],
    layout: str,
    gaps: list[float] | None,
    concurrency: int,
    kv_blocks: int,
) -> None:
    """Every prompt is the beginning of one of two texts, so that all share some of it."""
    limits = BatchLimits(
        kv_blocks=kv_blocks, max_num_batched_tokens=128, max_num_seqs=6, prefix_caching=True
    )
    due_s = None if gaps is None else np.cumsum(gaps)[: len(lengths)].tolist()
    texts = np.random.default_rng(1).integers(2, size=(2, 300))

    def hashes(request: int) -> list[int]:
        return block_hashes(texts[request % 2][: sum(lengths[request])], 16)

    def run(fast_forward: bool) -> Simulated:
        return simulate(
            Dispatcher(len(lengths), max_concurrency=concurrency, due_s=due_s),
            lengths,
            step_model(layout=layout, hardware="H100"),
            limits=limits,
            fast_forward=fast_forward,
            hashes=hashes,
        )

    fast, plain = run(fast_forward=True), run(fast_forward=False)
    assert same(fast, plain)
    assert fast.cached_tokens == plain.cached_tokens
    assert (fast.steps, fast.preemptions) == (plain.steps, plain.preemptions)
    assert fast.prefix_hits == sum(fast.cached_tokens)
    assert fast.prefix_queries == sum(prompt for prompt, _ in lengths)


@pytest.mark.slow
@given(lengths=LENGTHS, concurrency=st.integers(1, 12))
@settings(deadline=None, max_examples=30)
def test_every_token_comes_after_the_one_before_and_after_its_request_was_sent(
    lengths: list[tuple[int, int]], concurrency: int
) -> None:
    result = simulate(
        closed(len(lengths), concurrency), lengths, step_model(), limits=BatchLimits(kv_blocks=50)
    )
    for (_, output), sent_s, times in zip(
        lengths, result.sent_s, result.token_times_s, strict=True
    ):
        assert len(times) == output
        assert times[0] > sent_s
        assert np.all(np.diff(times) >= 0)


def test_closed_loop_keeps_its_concurrency_in_flight() -> None:
    lengths = [(128, 32)] * 20
    result = simulate(closed(20, 4), lengths, step_model(), limits=BatchLimits(kv_blocks=1000))
    moments = (result.sent_s[:, None] + result.done_s[:, None]) / 2
    in_flight = ((result.sent_s <= moments) & (moments < result.done_s)).sum(axis=1)
    assert in_flight.max() == 4
    assert in_flight[:16].min() == 4


def test_a_second_run_gives_the_same_bits() -> None:
    lengths = [(300, 40), (20, 90), (128, 128)] * 8
    model_ = step_model(layout="tp+ep", hardware="A100-40GB")
    first = simulate(closed(24, 7), lengths, model_, limits=BatchLimits(kv_blocks=200))
    second = simulate(closed(24, 7), lengths, model_, limits=BatchLimits(kv_blocks=200))
    assert same(first, second)


def test_replicas_share_the_requests_evenly() -> None:
    lengths = [(64, 64)] * 8
    one = simulate(
        closed(8, 8), lengths, step_model(layout="single"), limits=BatchLimits(kv_blocks=99)
    )
    two = simulate(closed(8, 8), lengths, step_model(layout="ep"), limits=BatchLimits(kv_blocks=99))
    assert two.peak_kv_usage == pytest.approx(one.peak_kv_usage / 2, abs=1 / 99)


def test_a_lone_request_on_one_of_two_replicas_waits_for_the_idle_one() -> None:
    lengths = [(64, 16)]
    alone = step_model(layout="single", hardware="H100")
    shared = step_model(layout="ep", hardware="H100")
    limits = BatchLimits(kv_blocks=99)
    assert shared.lockstep
    assert not step_model("LLaDA-8B", "dp2").lockstep
    for each in (alone, shared):
        result = simulate(closed(1, 1), lengths, each, limits=limits)
        assert result.steps == 16


def test_the_time_of_the_steps_is_accounted_for_by_phase_and_by_bound() -> None:
    """But for the intake, under which the engine is idle."""
    lengths = [(400, 50)] * 30
    busy = StepModel(
        model("OLMoE-1B-7B"), parse_layout("ep"), gpu("H100"),
        constants=msgspec.structs.replace(VLLM_2026, intake_s=0.0),
    )  # fmt: skip
    result = simulate(closed(30, 16), lengths, busy, limits=BatchLimits(kv_blocks=5000))
    busy_s = result.done_s.max()
    assert sum(result.seconds_by_phase.values()) == pytest.approx(busy_s)
    assert sum(result.seconds_by_bound.values()) == pytest.approx(busy_s)
    assert set(result.seconds_by_phase) == {"prefill", "mixed", "decode"}


def test_too_small_a_cache_preempts_and_costs_time() -> None:
    lengths = [(100, 100)] * 16
    small = simulate(closed(16, 16), lengths, step_model(), limits=BatchLimits(kv_blocks=30))
    large = simulate(closed(16, 16), lengths, step_model(), limits=BatchLimits(kv_blocks=3000))
    assert small.preemptions > 0
    assert large.preemptions == 0
    assert small.done_s.max() > large.done_s.max()


def test_open_loop_requests_are_sent_when_they_are_due() -> None:
    due_s = [0.5, 0.5, 1.25, 9.0]
    result = simulate(
        Dispatcher(4, max_concurrency=None, due_s=due_s),
        [(32, 8)] * 4,
        step_model(),
        limits=BatchLimits(kv_blocks=100),
    )
    assert result.sent_s.tolist() == due_s
    assert result.due_s.tolist() == due_s


def test_noise_is_centred_and_belongs_to_the_launch_and_to_the_step() -> None:
    def of_a_launch(seed: int) -> FloatArray:
        rng = np.random.default_rng(seed)
        return Noise(rng, launch=launch_factor(rng, 0.05), step_sigma=0.1).factors(0, 200)

    factors = np.array([of_a_launch(seed) for seed in range(400)])
    assert factors.mean() == pytest.approx(1.0, abs=0.01)
    launches = np.log(factors).mean(axis=1)
    assert launches.std() == pytest.approx(0.05, rel=0.15)
    assert np.log(factors).std(axis=1).mean() == pytest.approx(0.1, rel=0.05)
