"""A model that no count describes: real servers of it are planned, everything estimated is not."""

import json
from pathlib import Path
from typing import Any

import pytest

from catalog.errors import NotCounted
from orchestrator.engines.registry import engine_kind
from orchestrator.expected import expected_wall_s
from orchestrator.experiment.cells import served_model
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import Pool, make_plan

CONFIG: dict[str, Any] = {
    "model_type": "newcomer",
    "hidden_size": 65536,
    "num_hidden_layers": 500,
    "num_attention_heads": 7,
    "vocab_size": 77777,
    "max_position_embeddings": 9000,
    "memory_layer_width": 3,
}


@pytest.fixture
def strange(tmp_path: Path) -> str:
    folder = tmp_path / "strange"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return str(folder)


def experiment(model: str, **changes: Any) -> Experiment:
    given: dict[str, Any] = {"strategies": ("tp8",), "workloads": ("16:8:4",), "concurrency": "2"}
    return Experiment(models=(model,), **{**given, **changes})


H200 = Pool(hardware="H200", gpus_per_node={"H200": 8})


def test_real_servers_of_it_are_planned_without_a_memory_check_or_an_expected_time(
    strange: str,
) -> None:
    plan = make_plan(experiment(strange), "vllm", pool=H200)
    assert [group.setup.model for group in plan.groups] == ["strange"]
    assert plan.refused == ()
    assert expected_wall_s(plan, plan.groups[0]) is None
    assert plan.models["strange"].vocab == 77777


def test_its_context_still_bounds_the_prompts(strange: str) -> None:
    model = make_plan(experiment(strange), "vllm", pool=H200).models["strange"]
    assert model.max_context == 9000


def test_simulated_servers_of_it_are_refused_with_its_keys(strange: str) -> None:
    with pytest.raises(NotCounted, match="newcomer"):
        make_plan(experiment(strange), "simulated")


def test_weights_of_an_unknown_type_are_not_checked_against_memory(tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    folder.mkdir()
    whole = {
        "model_type": "llama",
        "hidden_size": 16384,
        "intermediate_size": 65536,
        "num_hidden_layers": 126,
        "num_attention_heads": 128,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
    }
    packed = {**whole, "quantization_config": {"quant_method": "vptq"}}
    (folder / "config.json").write_text(json.dumps(packed))
    plan = make_plan(experiment(str(folder)), "vllm", pool=H200)
    assert plan.refused == ()
    assert not plan.models["packed"].sized


def test_a_running_server_of_it_is_known_by_what_its_config_says(strange: str) -> None:
    assert served_model(strange).vocab == 77777
    assert served_model("nobody-knows-this").counted == "no"


def test_the_engines_that_compute_from_sizes_say_so() -> None:
    needing = {name for name in ("vllm", "simulated", "diffusion") if engine_kind(name).counted}
    assert needing == {"simulated", "diffusion"}
