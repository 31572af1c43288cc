"""What fits a GPU thanks to host memory is kept, what does not is left out with the number."""

import msgspec
import pytest

from catalog.errors import BadValue
from catalog.hardware_table import gpu
from catalog.model_table import MODELS
from catalog.units import GIB
from orchestrator.engines.huggingface.offloading import expert_offloading
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.devices import Device
from orchestrator.plan import Plan, make_plan
from perfmodel.memory import memory
from servers.huggingface.offload.options import budget_of
from strategies.parse import parse_layout
from strategies.technique import parse_technique
from tests.needs import needs_transformers

MIXTRAL = MODELS["Mixtral-8x7B"]
EXPERT = 3 * 4096 * 14336
INT8_EXPERT = EXPERT + 4 * (2 * 14336 + 4096)
"""With a scale for each of its rows."""


def plan_on(name: str, size_gib: int, engine: str, techniques: str, **more: object) -> Plan:
    study = Experiment(
        models=("mixtral",), strategies=("single",), techniques=(techniques,), **more
    )
    found = (Device(index=0, uuid="GPU-0", name=name, memory_bytes=size_gib * GIB),)
    return make_plan(study, engine, found=found)


def kept(plan: Plan) -> list[str]:
    return [setup.technique.name for setup in plan.setups]


def device_bytes_of_experts(technique: str) -> float:
    budget = memory(MIXTRAL, parse_layout("single"), gpu("A100-80GB"))
    parsed = parse_technique(technique)
    held = parsed.stored(MIXTRAL)
    return expert_offloading(budget, parsed, held)[0].expert_bytes


@pytest.mark.parametrize(
    ("technique", "expected"),
    [
        ("expert-offload:share=0.25", 64 * EXPERT * 2),  # of 32 · 8 experts
        ("expert-offload:resident=2", 32 * 2 * EXPERT * 2),
        ("expert-offload:memory=8GiB", 24 * EXPERT * 2),  # 24.4 of 336 MiB
        ("fp32+expert-offload:resident=1", 32 * EXPERT * 4),
        ("expert-offload:resident=2:experts=int8", 64 * INT8_EXPERT + EXPERT * 2),
        ("int8+expert-offload:resident=2", 64 * INT8_EXPERT + EXPERT * 2),
        ("fp32+expert-offload:resident=2:experts=int8", 64 * INT8_EXPERT + EXPERT * 4),
        ("int8", 256 * INT8_EXPERT + EXPERT * 2),
        ("bf16", 256 * EXPERT * 2),
    ],
)
def test_the_cache_of_experts_is_what_counts_and_one_widened_where_they_are_int8(
    technique: str, expected: int
) -> None:
    assert device_bytes_of_experts(technique) == expected


@needs_transformers
@pytest.mark.slow
@pytest.mark.parametrize(
    "technique", ["expert-offload:resident=2", "expert-offload:share=0.25", "int8"]
)
def test_the_estimate_is_what_a_tiny_model_then_holds_to_the_byte(technique: str) -> None:
    from transformers import AutoModelForCausalLM

    from servers.huggingface.causal import checkpoint_folder
    from servers.huggingface.offload.install import device_weight_bytes, install

    name, parsed = "tiny-mixtral", parse_technique(technique)
    options, held = budget_of(parsed), parsed.stored(MODELS[name])
    assert options is not None
    budget = memory(held, parse_layout("single"), gpu("A100-80GB"))
    estimated = expert_offloading(budget, parsed, held)[0].weight_bytes
    model = AutoModelForCausalLM.from_pretrained(str(checkpoint_folder(name)), dtype="auto")
    real = device_weight_bytes(model, install(model, options, device="cpu").arena)
    assert held.experts is not None
    widened = held.experts.params_per_expert(held.hidden) * 4 if technique == "int8" else 0
    assert estimated == real + widened


@needs_transformers
def test_a_cache_of_experts_lets_mixtral_on_one_a100_of_40_gib() -> None:
    # 21 GiB of experts and 3 of the rest, of 34.5 usable; with half of them it is 45.
    techniques = "none,expert-offload:share=0.25,expert-offload:share=0.5"
    plan = plan_on("NVIDIA A100-SXM4-40GB", 40, "transformers", techniques)
    assert kept(plan) == ["expert-offload:share=0.25"]
    none, half = plan.refused
    assert "weights take 87.0 GiB of each GPU" in none.reasons[0]
    assert "estimated" not in none.reasons[0]
    assert "weights take 45.0 GiB of each GPU (42.0 GiB of it experts)" in half.reasons[0]
    assert half.reasons[0].endswith("estimated with 128 of 256 experts resident")


def test_layers_on_the_host_let_mixtral_on_one_a100_of_80_gib() -> None:
    # 8 layers of 2.7 GiB go and one buffer comes: 68.1 of 70.5 GiB; with three buffers 73.5.
    techniques = "none,layer-offload:group=8:layers=2,layer-offload:group=8:layers=2:ahead=3"
    plan = plan_on("NVIDIA A100-SXM4-80GB", 80, "vllm", techniques)
    assert kept(plan) == ["layer-offload:group=8:layers=2"]
    none, ahead = plan.refused
    assert "weights take 87.0 GiB" in none.reasons[0]
    assert "weights take 73.5 GiB" in ahead.reasons[0]
    assert "estimated with 8 of 32 layers in host memory" in ahead.reasons[0]


def test_bytes_on_the_host_come_off_the_weights() -> None:
    plan = plan_on("NVIDIA A100-SXM4-80GB", 80, "vllm", "cpu-offload:8GiB,cpu-offload:20GiB")
    assert kept(plan) == ["cpu-offload:20GiB"]
    (refused,) = plan.refused
    assert "weights take 79.0 GiB" in refused.reasons[0]
    assert refused.reasons[0].endswith("estimated with 8.0 GiB of them in host memory")


@needs_transformers
def test_a_budget_for_int8_experts_need_not_hold_a_full_one() -> None:
    # An expert of Mixtral takes 336 MiB, and 168 in 8 bits with its scales.
    study = Experiment(
        models=("mixtral",),
        strategies=("single",),
        techniques=("int8+expert-offload:memory=200MiB",),
    )
    assert make_plan(study, "transformers").setups
    with pytest.raises(BadValue, match="room for one expert: 336 MiB"):
        make_plan(
            msgspec.structs.replace(study, techniques=("expert-offload:memory=200MiB",)),
            "transformers",
        )
