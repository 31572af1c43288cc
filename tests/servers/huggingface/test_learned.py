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


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few steps on a little text."""
    import torch

    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # it would stay so
    monkeypatch.setattr(learned, "help_topics", lambda: help_topics()[:30_000])
    for name, small in (("STEPS", 20), ("STUDENT_STEPS", 12), ("BATCH", 8)):
        monkeypatch.setattr(learned, name, small)


def text_ids() -> Any:
    import torch

    return torch.tensor(tiny.tokenizer(512)(help_topics()[-1000:])["input_ids"][:512])[None]


@pytest.mark.usefixtures("brief")
def test_a_teacher_learns_the_text(tmp_path: Path) -> None:
    import torch

    learned.make(MODELS[TEACHER], tmp_path)
    with torch.inference_mode():
        loss = read(tmp_path)(text_ids(), labels=text_ids()).loss
    assert float(loss.exp()) < 150  # of 512 tokens


@pytest.mark.usefixtures("brief")
def test_a_student_comes_closer_to_its_teacher_than_pruning_left_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    teacher = tiny.checkpoint("tiny-mixtral")  # random, and every expert counts
    monkeypatch.setattr(tiny, "checkpoint", lambda _: teacher)
    learned.make(MODELS[STUDENT], tmp_path / "student")
    monkeypatch.setattr(learned, "train", lambda *_: None)
    learned.make(MODELS[STUDENT], tmp_path / "pruned")
    far = {}
    with torch.inference_mode():
        wanted = read(teacher)(text_ids()).logits.log_softmax(-1)
        for name in ("pruned", "student"):
            model = read(tmp_path / name)
            assert sum(each.numel() for each in model.parameters()) == MODELS[STUDENT].total_params
            found = model(text_ids()).logits.log_softmax(-1)
            far[name] = float((wanted.exp() * (wanted - found)).sum(-1).mean())
    assert far["student"] < 0.9 * far["pruned"], far


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
