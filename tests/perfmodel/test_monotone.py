"""What must never slow an estimate down: bandwidth, shorter contexts, more GPUs of a kind."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.hardware import Gpu, Link
from catalog.hardware_table import gpu
from catalog.model_table import model
from perfmodel.autotune import Goal, search
from perfmodel.closed_loop import ClosedLoop
from perfmodel.constants import A100_VLLM, ROOFLINE, VLLM_2026, Constants
from perfmodel.load import decode_load, prefill_load
from perfmodel.serving import ServerSettings, server
from perfmodel.simulate import simulate
from perfmodel.step import StepModel
from strategies import parse_layout

NAMES = ["Qwen3-30B-A3B", "Mixtral-8x7B", "DeepSeek-V3", "gpt-oss-120b"]
LAYOUTS = [
    "tp8", "tp8+ep", "tp2+dp4+ep", "dp8+ep", "pp2+tp4", "tp16", "dp16+ep",
    "tp2+dp8+ep[all2all=deepep_low_latency]",
]  # fmt: skip
SETS = st.sampled_from([VLLM_2026, ROOFLINE, A100_VLLM])
ROUNDING = 1 + 1e-9


def faster(link: Link | None, factor: float) -> Link | None:
    if link is None:
        return None
    more = link.bandwidth_bytes_per_s * factor
    return msgspec.structs.replace(link, bandwidth_bytes_per_s=more)


def better(base: Gpu, what: str, factor: float) -> Gpu:
    """The GPU with more of one thing."""
    if what == "memory":
        more = base.bandwidth_bytes_per_s * factor
        return msgspec.structs.replace(base, bandwidth_bytes_per_s=more)
    if what == "links":
        both = (faster(base.intra_node, factor), faster(base.inter_node, factor))
        return msgspec.structs.replace(base, intra_node=both[0], inter_node=both[1])
    peaks = {dtype: peak * factor for dtype, peak in base.flops_per_s.items()}
    return msgspec.structs.replace(base, flops_per_s=peaks)


@given(
    name=st.sampled_from(NAMES),
    layout=st.sampled_from(LAYOUTS),
    what=st.sampled_from(["memory", "links", "peaks"]),
    factor=st.floats(1, 10),
    batch=st.integers(1, 400),
    context=st.integers(1, 20_000),
    constants=SETS,
)
@settings(deadline=None, max_examples=60)
def test_no_step_is_slower_on_a_better_gpu(
    name: str,
    layout: str,
    what: str,
    factor: float,
    batch: int,
    context: int,
    constants: Constants,
) -> None:
    base, spec, parsed = gpu("H200"), model(name), parse_layout(layout)
    plain, more = (
        StepModel(spec, parsed, each, constants=constants)
        for each in (base, better(base, what, factor))
    )
    for load in (
        decode_load(batch, context, window=spec.reach),
        prefill_load(1, context, window=spec.reach),
    ):
        loads = [load] * (parsed.dp if plain.lockstep else 1)
        assert more.times(loads).total_s[0] <= plain.times(loads).total_s[0] * ROUNDING


@given(
    name=st.sampled_from(["Qwen3-30B-A3B", "gpt-oss-120b"]),
    layout=st.sampled_from(["tp8", "tp8+ep", "dp8+ep"]),
    prompt=st.integers(16, 3000),
    less=st.integers(1, 1000),
    in_flight=st.integers(1, 40),
)
@settings(deadline=None, max_examples=15)
def test_shorter_prompts_are_never_served_slower(
    name: str, layout: str, prompt: int, less: int, in_flight: int
) -> None:
    """One wave, all at once: prompts that end together, whatever the waves after would do."""
    built = server(
        model(name), parse_layout(layout), gpu("H200"), longest=prompt + less + 32,
        setup=ServerSettings(constants=VLLM_2026),
    )  # fmt: skip
    ends_s = []
    for length in (prompt, prompt + less):
        loop, lengths = ClosedLoop(in_flight, in_flight), [(length, 32)] * in_flight
        found = simulate(loop, lengths, built.step_model, limits=built.limits)
        ends_s.append(float(found.done_s.max()))
    assert ends_s[0] <= ends_s[1] * ROUNDING


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("latency_s", [None, 0.05])
def test_more_gpus_of_a_kind_never_serve_less(name: str, latency_s: float | None) -> None:
    """The best partition of twice the GPUs, up to several nodes."""
    goal, best = Goal(context=4096, latency_s=latency_s), []
    for gpus in (1, 2, 4, 8, 16, 32, 64):
        rows = search(model(name), gpu("H200"), gpus, goal=goal)
        best.append(rows[0].tokens_per_s or 0.0)
    assert best == sorted(best)
