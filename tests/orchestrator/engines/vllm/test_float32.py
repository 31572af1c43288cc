"""A float32 checkpoint: what vLLM makes of it on a GPU, and what is asked for on the CPU."""

import json
from pathlib import Path

import pytest

from catalog.dtypes import as_served
from catalog.errors import Infeasible
from catalog.from_hf import load_model
from catalog.hardware_table import GPUS
from orchestrator.engine import LaunchContext
from orchestrator.engines.simulated.options import held_model
from orchestrator.engines.vllm.command import server_command
from orchestrator.estimate import plan_of
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.devices import Device
from orchestrator.plan import Plan, make_plan
from servers.simulated.arguments import ServerArguments

HERE = (Device(0, "GPU-0", "NVIDIA H200", 150 * 10**9),)
CONFIG = {
    "model_type": "llama", "hidden_size": 8192, "num_hidden_layers": 64, "vocab_size": 32000,
    "num_attention_heads": 64, "num_key_value_heads": 8, "intermediate_size": 28672,
    "max_position_embeddings": 8192, "tie_word_embeddings": False, "rms_norm_eps": 1e-6,
    "torch_dtype": "float32",
}  # fmt: skip
"""55 billion parameters: 110 GB in 16 bits, 220 GB in 32."""


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return str(tmp_path)


def asked(checkpoint: str, *, technique: str = "none", args: tuple[str, ...] = ()) -> Experiment:
    return Experiment(
        models=(checkpoint,),
        strategies=("single",),
        techniques=(technique,),
        workloads=("16:8:2",),
        server=ServerOptions(args=args),
    )


def command(plan: Plan) -> list[str]:
    group: ServerGroup = plan.groups[0]
    context = LaunchContext(plan.experiment, plan.models[group.setup.model], Path())
    return server_command(group, context, base=("vllm",), port=1, served_name="m")


def test_on_a_gpu_it_is_held_and_asked_for_in_16_bits(checkpoint: str) -> None:
    plan = make_plan(asked(checkpoint), "vllm", found=HERE)
    assert "--dtype" not in command(plan)
    assert plan.stored(plan.setups[0]).weight_dtype == "bfloat16"


def test_an_estimate_holds_what_the_server_will(checkpoint: str) -> None:
    experiment = asked(checkpoint)
    plan = plan_of(Experiment(models=experiment.models, strategies=("single",), hardware="H200"))
    (setup,) = plan.setups
    held = held_model(setup, plan.models[setup.model], ServerArguments())
    assert held.held.total == pytest.approx(load_model(checkpoint).held.total / 2)


def test_on_the_cpu_it_stays_as_it_is(checkpoint: str) -> None:
    plan = make_plan(asked(checkpoint), "vllm")
    words = command(plan)
    assert words[words.index("--dtype") + 1] == "float32"
    assert plan.stored(plan.setups[0]).weight_dtype == "float32"


@pytest.mark.parametrize(("technique", "args"), [("fp32", ()), ("none", ("--dtype=float32",))])
def test_who_asks_for_32_bits_is_given_them_and_needs_their_memory(
    checkpoint: str, technique: str, args: tuple[str, ...]
) -> None:
    with pytest.raises(Infeasible, match="weights take"):
        make_plan(asked(checkpoint, technique=technique, args=args), "vllm", found=HERE)


def test_a_gpu_without_bfloat16_holds_float16(checkpoint: str) -> None:
    model = load_model(checkpoint)
    assert as_served(model, GPUS["V100-32GB"]).weight_dtype == "float16"
    assert as_served(model, None).weight_dtype == "bfloat16"
