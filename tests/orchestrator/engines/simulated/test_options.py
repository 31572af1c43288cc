"""The simulated engine refuses what its model ignores, and what it takes moves its numbers."""

from collections.abc import Mapping

import msgspec
import pytest

from catalog.errors import BadValue, Infeasible, InputError
from orchestrator.engines.simulated.engine import simulated_server
from orchestrator.estimate import estimates, plan_of
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.host.devices import Device
from orchestrator.plan import make_plan
from orchestrator.results.condition import SETUP
from perfmodel.serving import DEFAULT_SETTINGS
from servers.simulated.__main__ import build
from servers.simulated.command import arguments, layout_of
from strategies.vllm_args import vllm_args

STUDY = Experiment(
    models=("OLMoE-1B-7B",), strategies=("ep",), workloads=("512:64:64",), concurrency="32"
)


def study(*args: str, **changes: object) -> Experiment:
    fields = {"server": ServerOptions(args=args), **changes}
    return msgspec.structs.replace(STUDY, **fields)


def row(*args: str, **changes: object) -> Mapping[str, float]:
    (found,) = estimates(plan_of(study(*args, **changes)), DEFAULT_SETTINGS)
    return found  # type: ignore[return-value]


def figures(row: Mapping[str, float]) -> Mapping[str, float]:
    """What was measured, without what says under which configuration."""
    named = {*SETUP, "configuration", "configuration_text", "assumed"}
    return {name: value for name, value in row.items() if name not in named}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"strategies": ("ep[dbo=on]",)}, "knob dbo"),
        ({"strategies": ("tp", "ep[placement=round_robin]")}, "knob placement"),
        ({"strategies": ("dp8+ep[eplb=32]",)}, "knob eplb"),
        ({"strategies": ("dp16+ep[all2all=deepep_v2]",)}, "knob all2all"),
        ({"strategies": ("ep[all2all=deepep_low_latency]",)}, "8 copies of a token to 2 ranks"),
        ({"strategies": ("tp2+ep[all2all=deepep_low_latency]",)}, "without data parallelism"),
        ({"server": ServerOptions(args=("--bogus=1",))}, "--bogus=1"),
        ({"server": ServerOptions(args=("--max-num-seq", "4"))}, "Did you mean --max-num-seqs"),
        ({"server": ServerOptions(args=("--max-model-len=500",))}, "got 500, allowed: 576"),
        ({"server": ServerOptions(args=("--max-model-len=8K",))}, "got 8192, allowed: up to 4096"),
        ({"server": ServerOptions(env={"VLLM_USE_V1": "1"})}, "--server-env: got 'VLLM_USE_V1'"),
    ],
)
def test_what_the_model_ignores_is_refused_before_a_plan_is_made(
    changes: dict[str, object], told: str
) -> None:
    for plan in (lambda asked: make_plan(asked, "simulated"), plan_of):
        with pytest.raises(InputError) as refused:
            plan(msgspec.structs.replace(STUDY, **changes))
        assert told in str(refused.value)
        assert "\n" not in str(refused.value)


def test_a_real_engine_gets_every_knob_argument_and_variable() -> None:
    asked = study("--bogus=1", strategies=("ep[dbo=on,eplb=2,placement=round_robin]",))
    asked = msgspec.structs.replace(
        asked, server=msgspec.structs.replace(asked.server, env={"X": "1"})
    )
    gpus = [Device(index=i, uuid=f"{i}", name="NVIDIA H100 80GB HBM3", memory_bytes=80 * 2**30)
            for i in range(2)]  # fmt: skip
    (setup,) = make_plan(asked, "vllm", found=tuple(gpus)).setups
    assert setup.server_args == ("--bogus=1",)
    assert setup.server_env == (("X", "1"),)


def test_a_checkpoint_in_the_models_place_is_the_one_whose_exchange_is_looked_at() -> None:
    asked = study(strategies=("dp4+ep[all2all=deepep_low_latency]",), techniques=("none",))
    with pytest.raises(BadValue, match="8 copies of a token to 4 ranks"):
        make_plan(asked, "simulated")
    # Mixtral's tokens choose two experts; a variant has fewer tokens and is refused for that.
    other = msgspec.structs.replace(asked, techniques=("variant:Mixtral-8x7B",))
    with pytest.raises(Infeasible, match="tokens"):
        make_plan(other, "simulated")


def test_fewer_sequences_give_less_throughput_and_longer_waits() -> None:
    few, many = row("--max-num-seqs=4"), row()
    assert few["output_throughput"] < 0.6 * many["output_throughput"]
    assert few["mean_ttft_ms"] > 2 * many["mean_ttft_ms"]


def test_a_smaller_budget_makes_prompts_slower() -> None:
    assert row("--max_num_batched_tokens", "128")["mean_ttft_ms"] > 1.3 * row()["mean_ttft_ms"]


def test_a_smaller_share_of_memory_holds_fewer_tokens() -> None:
    assert (
        row("--gpu-memory-utilization=0.3")["kv_tokens_capacity"]
        < 0.6 * row()["kv_tokens_capacity"]
    )


def test_too_small_a_share_is_infeasible_and_a_larger_one_fits_what_did_not() -> None:
    with pytest.raises(Infeasible, match="weights take"):
        plan_of(study("--gpu-memory-utilization=0.05"))
    tight = {"models": ("Mixtral-8x7B",), "strategies": ("tp",), "hardware": "A100-40GB"}
    with pytest.raises(Infeasible):
        plan_of(study(**tight))
    longest = {"strategies": ("tp",), "models": ("Mixtral-8x7B",), "hardware": "A100-80GB"}
    assert (
        row("--gpu-memory-utilization=0.98", **longest)["kv_tokens_capacity"]
        > row(**longest)["kv_tokens_capacity"]
    )


@pytest.mark.parametrize("dtype", ["fp8", "fp8_e4m3", "fp8_e5m2"])
def test_an_8_bit_cache_holds_twice_the_tokens(dtype: str) -> None:
    assert row(f"--kv-cache-dtype={dtype}")["kv_tokens_capacity"] == pytest.approx(
        2 * row()["kv_tokens_capacity"], 1e-3
    )


@pytest.mark.parametrize("dtype", ["auto", "bfloat16", "float16"])
def test_a_16_bit_cache_is_the_models_own(dtype: str) -> None:
    told = row(f"--kv-cache-dtype={dtype}")
    assert told["kv_tokens_capacity"] == row()["kv_tokens_capacity"]


def test_the_last_word_on_types_is_the_servers_own_argument() -> None:
    technique = row(techniques=("kv-fp8",))
    assert row("--kv-cache-dtype=fp8")["kv_tokens_capacity"] == technique["kv_tokens_capacity"]
    undone = row("--kv-cache-dtype=auto", techniques=("kv-fp8",))
    assert undone["kv_tokens_capacity"] == row()["kv_tokens_capacity"]
    told, named = row("--dtype=float32", techniques=("bf16",)), row(techniques=("fp32",))
    assert figures(told) == figures(named)


def test_wider_weights_are_slower_and_leave_less_to_the_cache() -> None:
    wide, plain = row("--dtype=float32"), row()
    assert wide["output_throughput"] < plain["output_throughput"]
    assert wide["kv_tokens_capacity"] < 0.5 * plain["kv_tokens_capacity"]


def test_larger_blocks_round_the_cache_down() -> None:
    blocks = {size: row(f"--block-size={size}")["kv_tokens_capacity"] for size in (16, 256)}
    assert blocks[256] % 256 == 0
    assert 0 <= blocks[16] - blocks[256] < 2 * 256


def test_one_sequence_of_the_longest_length_allowed_must_fit() -> None:
    qwen = {"models": ("Mixtral-8x7B",), "strategies": ("tp",), "hardware": "A100-80GB"}
    assert row("--max-model-len=1024", **qwen)["feasible"]
    with pytest.raises(Infeasible, match="one sequence of 30000 tokens needs"):
        plan_of(
            study("--max-model-len=30000", "--gpu-memory-utilization=0.59", **qwen),
        )


def test_a_server_told_not_to_schedule_ahead_is_slower_and_of_another_condition() -> None:
    many = {"concurrency": "256", "strategies": ("tp",)}
    plain, ahead = row(**many), row("--async-scheduling", **many)
    waits = row("--no-async-scheduling", **many)
    assert waits["output_throughput"] < 0.97 * plain["output_throughput"]
    assert waits["assumed"] == "scheduled step by step"
    assert figures(ahead) == figures(plain)
    assert "assumed" not in ahead


def test_the_prefix_cache_is_off_unless_asked_for_and_finds_nothing_in_random_prompts() -> None:
    assert figures(row("--no-enable-prefix-caching")) == figures(row())
    on = dict(figures(row("--enable-prefix-caching")))
    assert on.pop("prefix_caching") == "on"
    assert on.pop("server_prefix_cache_queries") > 0
    assert on.pop("server_prefix_cache_hits") == 0
    assert on == figures(row())


@pytest.mark.parametrize(
    "args",
    [
        "--max-model-len=576",
        "--max-model-len=576 --max-num-seqs=4",
        "--max-model-len=1K --max-num-batched-tokens=512 --block-size=64",
        "--max-model-len=576 --gpu-memory-utilization=0.5 --kv-cache-dtype=fp8",
        "--max-model-len=2048 --dtype=float32",
    ],
)
@pytest.mark.parametrize(
    ("model", "strategy"),
    [("OLMoE-1B-7B", "ep"), ("gpt-oss-20b", "tp2+dp2+ep"), ("Mixtral-8x7B", "dp8+ep")],
)
def test_virtual_time_and_the_server_over_http_are_one_model(
    model: str, strategy: str, args: str
) -> None:
    asked = study(*args.split(), models=(model,), strategies=(strategy,))
    plan = make_plan(asked, "simulated")
    (group,) = plan.groups
    virtual = simulated_server(group, plan.models[model])
    assert group.setup.layout is not None
    words = ["--model", model, *vllm_args(group.setup.layout), *group.setup.server_args]
    known = arguments(words)
    over_http = build(known, plan.models[model], layout_of(known))
    assert over_http.limits == virtual.limits
    assert over_http.memory == virtual.memory
    assert over_http.step_model.model == virtual.step_model.model
