"""A tiny teacher that learned, and a student with half of its experts that learned from it."""

from pathlib import Path
from typing import Any

import pytest

from catalog.model_table import MODELS
from servers import tiny_checkpoint as tiny
from servers.huggingface import learned
from servers.huggingface.corpus import help_topics
from tests.needs import needs_transformers

pytestmark = [pytest.mark.slow, needs_transformers]
TEACHER, STUDENT = tiny.LEARNED


def read(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder).eval()


def test_a_student_learns_its_teacher_s_probabilities_beyond_what_pruning_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(learned, "STEPS", 20)
    monkeypatch.setattr(learned, "STUDENT_STEPS", 15)
    monkeypatch.setattr(learned, "BATCH", 8)
    monkeypatch.setattr(tiny, "checkpoint", lambda name: tmp_path / name)
    for name in (TEACHER, STUDENT):
        learned.make(MODELS[name], tmp_path / name)
    monkeypatch.setattr(learned, "train", lambda *_: None)
    learned.make(MODELS[STUDENT], tmp_path / "pruned")
    text = tiny.tokenizer(512)(help_topics()[-4000:])["input_ids"][:512]
    ids = torch.tensor(text).reshape(4, 128)
    teacher = read(tmp_path / TEACHER)
    with torch.inference_mode():
        assert float(teacher(ids, labels=ids).loss.exp()) < 150  # of 512 tokens, unlearned
        wanted = teacher(ids).logits.log_softmax(-1)
        far = {}
        for name in ("pruned", STUDENT):
            model = read(tmp_path / name)
            assert sum(each.numel() for each in model.parameters()) == MODELS[STUDENT].total_params
            found = model(ids).logits.log_softmax(-1)
            far[name] = float((wanted.exp() * (wanted - found)).sum(-1).mean())
    assert far[STUDENT] < 0.8 * far["pruned"]


def test_a_learned_checkpoint_is_made_by_the_module_that_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def noting(words: list[str], **_: object) -> Any:
        asked.append(words)
        Path(words[-1]).mkdir(parents=True)
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tiny.subprocess, "run", noting)
    tiny.checkpoint(STUDENT)
    tiny.checkpoint("tiny-qwen")
    assert ["servers.huggingface.learned" in each for each in asked] == [True, False]
