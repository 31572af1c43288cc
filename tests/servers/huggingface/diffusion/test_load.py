"""Checkpoints in the published layout, and what is refused before they are loaded."""

import json
from pathlib import Path

import pytest

from catalog.errors import BadFile, BadValue
from catalog.model_table import MODELS
from servers.huggingface.diffusion import seeded
from servers.huggingface.diffusion.load import CheckpointSource, load_decoder
from servers.huggingface.diffusion.options import DiffusionOptions

pytestmark = pytest.mark.slow  # torch alone takes seconds to import

COMMIT = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(scope="module", params=["tiny-llada", "tiny-llada-moe"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="weights are torch's")
    pytest.importorskip("transformers", reason="models are transformers'")
    folder = tmp_path_factory.mktemp("checkpoints") / str(request.param)
    seeded.make(MODELS[request.param], folder)
    return folder


def test_a_checkpoint_under_its_published_names_computes_what_was_saved(checkpoint: Path) -> None:
    import torch
    from safetensors import safe_open

    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        names = set(file.keys())
    dense = checkpoint.name == "tiny-llada"
    expected = "model.transformer.blocks.1.ff_proj" if dense else "mlp.experts.63.gate_proj"
    assert any(expected in name for name in names)
    loaded = load_decoder(CheckpointSource(name=str(checkpoint)), DiffusionOptions(), device="cpu")
    original = seeded.build(MODELS[checkpoint.name])
    ids = torch.tensor([[1, 2, 3, 511, 511]])
    with torch.inference_mode():
        torch.testing.assert_close(loaded.backbone.model(ids).logits, original(ids).logits)
    assert loaded.backbone.mask_id == 511
    assert (loaded.vocab, loaded.max_context, loaded.eos) == (512, 2048, {0})


def test_weights_that_do_not_fit_the_configuration_are_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    key = "n_layers" if "n_layers" in config else "num_hidden_layers"
    (tmp_path / "config.json").write_text(json.dumps({**config, key: 3}))
    (tmp_path / "model.safetensors").symlink_to(checkpoint / "model.safetensors")
    with pytest.raises(BadFile, match=r"do not fit its configuration: .*layers\.2"):
        load_decoder(CheckpointSource(name=str(tmp_path)), DiffusionOptions(), device="cpu")


@pytest.mark.parametrize("revision", [None, "main", "abc123", COMMIT.upper(), COMMIT + "0"])
def test_remote_code_runs_only_at_a_commit_that_was_named(revision: str | None) -> None:
    with pytest.raises(BadValue, match="40 hex digits"):
        CheckpointSource(name="GSAI-ML/LLaDA-8B-Instruct", revision=revision, remote_code=True)
    CheckpointSource(name="GSAI-ML/LLaDA-8B-Instruct", revision=COMMIT, remote_code=True)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (DiffusionOptions(kv_cache="block", experts="loop"), "--kv-cache"),
        (DiffusionOptions(experts="grouped"), "--experts"),
    ],
)
def test_remote_code_brings_its_own_forward_pass(
    checkpoint: Path, options: DiffusionOptions, told: str
) -> None:
    source = CheckpointSource(name=str(checkpoint), revision=COMMIT, remote_code=True)
    with pytest.raises(BadValue, match=told):
        load_decoder(source, options, device="cpu")


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="models are transformers'")
    with pytest.raises(BadFile, match="no such file"):
        load_decoder(CheckpointSource(name=str(tmp_path)), DiffusionOptions())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadFile, match="no LLaDA model"):
        load_decoder(CheckpointSource(name=str(tmp_path)), DiffusionOptions())
