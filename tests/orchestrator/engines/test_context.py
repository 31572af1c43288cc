"""Prompts and answers against the longest sequence a server takes, whichever engine serves."""

import json
from pathlib import Path

import msgspec
import pytest

from catalog.errors import BadValue
from catalog.from_hf import model_from_config
from catalog.model_table import MODELS
from orchestrator.engines.context import longest_allowed, unknown_contexts
from orchestrator.experiment.cells import setups
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.host.devices import Device
from orchestrator.plan import make_plan, notices
from strategies import Technique

NO_TECHNIQUE = (Technique(),)
HERE = (Device(0, "GPU-0", "NVIDIA H200", 150 * 10**9),)
SHORT, LONG = "LLaMA-65B", "Qwen3-30B-A3B"
"""2048 and 40960 tokens."""
CONFIG = {
    "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 100,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
    "max_position_embeddings": 4096, "tie_word_embeddings": False, "rms_norm_eps": 1e-6,
}  # fmt: skip


def asked(*workloads: str, models: tuple[str, ...] = (LONG,), args: str = "") -> Experiment:
    return Experiment(
        models=models,
        strategies=("single",),
        workloads=workloads,
        hardware="H200",
        server=ServerOptions(args=tuple(args.split())),
    )


@pytest.mark.parametrize("engine", ["simulated", "vllm"])
def test_a_workload_beyond_every_model_is_bad_input_with_both_numbers(engine: str) -> None:
    with pytest.raises(BadValue, match="40960 tokens together, not 41000"):
        make_plan(asked("40936:64:2"), engine, found=HERE)


@pytest.mark.parametrize("engine", ["simulated", "vllm"])
def test_up_to_the_context_a_workload_runs(engine: str) -> None:
    assert make_plan(asked("40896:64:2"), engine, found=HERE).runs


def test_a_model_that_is_too_short_is_not_run_beside_one_that_is_not() -> None:
    plan = make_plan(asked("3000:64:2", models=(SHORT, LONG)), "simulated")
    assert {setup.model for setup in plan.setups} == {LONG}
    why = {each.setup.model: each.reasons for each in plan.refused}
    assert any("3064" in reason and "2048" in reason for reason in why[SHORT])


@pytest.mark.parametrize(
    ("args", "longest"),
    [
        ("", 40960),
        ("--max-model-len=4096", 4096),
        ("--max-model-len 4k", 4000),
        ("--max_model_len 4K", 4096),
        ("--max-model-len=8192 --max-model-len=1024", 1024),
        ("--max-model-len=100000", 40960),
        ("--max-model-len=auto", 40960),
        ("--hf-overrides {} --max-model-len=100000", 100000),
        ("--hf-overrides.rope_scaling.factor=4", 0),
    ],
)
def test_what_the_server_is_told_of_its_longest_sequence_counts(args: str, longest: int) -> None:
    experiment = asked("16:8:2", args=args)
    (one,) = setups(
        experiment,
        "vllm",
        {LONG: MODELS[LONG]},
        NO_TECHNIQUE,
        every_layout=("single",),
        here="H200",
    )
    assert longest_allowed(one, MODELS[LONG]) == longest


def test_a_model_whose_context_is_not_known_is_named_and_not_checked() -> None:
    blind = msgspec.structs.replace(MODELS[LONG], max_context=0)
    experiment = asked("90000:64:2")
    made = tuple(
        setups(
            experiment, "vllm", {LONG: blind}, NO_TECHNIQUE, every_layout=("single",), here="H200"
        )
    )
    assert unknown_contexts(made, {LONG: blind}) == (
        f"context of {LONG} not known: lengths are not checked against it"
    )
    assert unknown_contexts(made, {LONG: MODELS[LONG]}) == ""


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        (None, 4096),
        ({"rope_type": "linear", "factor": 4.0}, 16384),
        ({"type": "dynamic", "factor": 2}, 8192),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}, 4096),
        ({"rope_type": "llama3", "factor": 8.0}, 4096),
    ],
)
def test_scaled_positions_make_the_context_longer_unless_it_is_said_so_already(
    scaling: dict[str, object] | None, context: int
) -> None:
    config = CONFIG | ({"rope_scaling": scaling} if scaling else {})
    assert model_from_config(config, name="scaled").max_context == context


def test_a_config_that_tells_no_context_is_counted_and_planned_with_a_note(tmp_path: Path) -> None:
    # Of a family that transformers knows its class has one, as for vLLM.
    told = {key: value for key, value in CONFIG.items() if key != "max_position_embeddings"}
    told["model_type"] = "of_nobody"
    (tmp_path / "config.json").write_text(json.dumps(told))
    plan = make_plan(asked("90000:64:2", models=(str(tmp_path),)), "simulated")
    assert plan.runs
    assert "not known: lengths are not checked" in notices("", plan)
    (model,) = plan.models.values()
    assert any("longest sequence is not told" in note for note in model.notes)
