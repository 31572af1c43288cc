"""What a server is told to load: what was named, never a sibling of it."""

import pytest

from catalog.from_hf import load_model
from catalog.model_table import model
from orchestrator.engines.checkpoints import weights
from orchestrator.experiment.experiment import Experiment


@pytest.mark.parametrize(
    ("named", "loaded"),
    [
        ("mixtral", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
        ("mistralai/Mixtral-8x7B-v0.1", "mistralai/Mixtral-8x7B-v0.1"),
        ("allenai/OLMoE-1B-7B-0125", "allenai/OLMoE-1B-7B-0125"),
    ],
)
def test_the_checkpoint_that_was_named_is_loaded_though_the_architecture_has_others(
    named: str, loaded: str
) -> None:
    assert weights(Experiment(models=(named,)), model(named)) == loaded


@pytest.mark.parametrize(
    ("named", "loaded"),
    [
        ("deepseek-r1", "deepseek-ai/DeepSeek-R1"),
        ("deepseek-ai/DeepSeek-R1", "deepseek-ai/DeepSeek-R1"),
        ("glm-5-fp8", "zai-org/GLM-5-FP8"),
        ("llama-3.1-8b", "meta-llama/Meta-Llama-3.1-8B"),
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
    ],
)
def test_a_kept_configuration_loads_its_own_checkpoint(named: str, loaded: str) -> None:
    assert weights(Experiment(models=(named,)), load_model(named)) == loaded


def test_each_model_of_a_study_gets_its_own_checkpoint() -> None:
    study = Experiment(models=("Qwen/Qwen1.5-MoE-A2.7B", "mistralai/Mixtral-8x7B-v0.1"))
    assert weights(study, model("mixtral")) == "mistralai/Mixtral-8x7B-v0.1"
    assert weights(study, model("qwen-moe")) == "Qwen/Qwen1.5-MoE-A2.7B"
