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


def test_a_student_comes_closer_to_a_teacher_that_learned_than_pruning_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    text = help_topics()[:30_000]
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # it would stay so
    monkeypatch.setattr(learned, "help_topics", lambda: text)
    monkeypatch.setattr(tiny, "checkpoint", lambda name: tmp_path / name)
    for name, small in (("STEPS", 70), ("STUDENT_STEPS", 20), ("BATCH", 8)):
        monkeypatch.setattr(learned, name, small)
    learned.make(MODELS[TEACHER], tmp_path / TEACHER)
    monkeypatch.setattr(learned, "RATE", 5e-4)  # few steps so close to the teacher are small ones
    learned.make(MODELS[STUDENT], tmp_path / STUDENT)
    monkeypatch.setattr(learned, "train", lambda *_: None)
    learned.make(MODELS[STUDENT], tmp_path / "pruned")
    ids = torch.tensor(tiny.tokenizer(512)(text[:1000])["input_ids"][:512]).reshape(4, 128)
    far = {}
    with torch.inference_mode():
        teacher = read(tmp_path / TEACHER)
        assert float(teacher(ids, labels=ids).loss.exp()) < 60  # of 512 tokens
        wanted = teacher(ids).logits.log_softmax(-1)
        for name in ("pruned", STUDENT):
            model = read(tmp_path / name)
            assert sum(each.numel() for each in model.parameters()) == MODELS[STUDENT].total_params
            found = model(ids).logits.log_softmax(-1)
            far[name] = float((wanted.exp() * (wanted - found)).sum(-1).mean())
    assert far[STUDENT] < 0.8 * far["pruned"], far


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
