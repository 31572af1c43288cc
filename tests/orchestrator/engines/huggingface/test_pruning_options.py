"""Pruning asked for: what reaches the server, what is refused, and what fits thanks to it."""

from pathlib import Path

import pytest

from catalog.errors import BadFile, BadValue
from catalog.units import GIB
from orchestrator.engines.huggingface import kinds
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.devices import Device
from orchestrator.plan import Plan, make_plan
from servers.huggingface.pruning.options import arguments_of, options_of
from strategies.technique import parse_technique

A100 = Device(index=0, uuid="GPU-0", name="NVIDIA A100-SXM4-80GB", memory_bytes=80 * GIB)


@pytest.fixture(autouse=True)
def transformers_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "require_transformers", lambda: None)


def plan(*techniques: str) -> Plan:
    study = Experiment(models=("mixtral",), strategies=("single",), techniques=techniques)
    return make_plan(study, "transformers", found=(A100,))


@pytest.mark.parametrize(
    ("technique", "words"),
    [
        ("prune-experts:share=0.5", "--prune-experts 0.5 --prune-by use"),
        (
            "bf16+prune-experts:share=0.5:by=weight:text=a.txt",
            "--prune-experts 0.5 --prune-by weight --prune-text a.txt",
        ),
        ("prune-width:share=0.25+bnb-nf4", "--prune-width 0.25"),
        ("bnb-nf4", ""),
    ],
)
def test_the_server_is_told_what_goes_and_by_what(technique: str, words: str) -> None:
    assert " ".join(arguments_of(options_of(parse_technique(technique)))) == words


def test_a_model_fits_a_gpu_by_the_experts_that_are_left_out() -> None:
    made = plan("none", "prune-experts:share=0.25")
    assert [setup.technique.name for setup in made.setups] == ["prune-experts:share=0.25"]


def test_a_share_and_a_text_that_cannot_be_are_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    with pytest.raises(BadValue, match="which leaves 2 of 8 in Mixtral-8x7B"):
        plan("prune-experts:share=0.9")
    with pytest.raises(BadFile, match="no such text"):
        plan(f"prune-experts:share=0.5:text={tmp_path}/none.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    with pytest.raises(BadValue, match="this file is empty"):
        plan(f"prune-experts:share=0.5:text={empty}")
    with pytest.raises(BadValue, match="up to the 4 experts of a layer"):
        plan("prune-experts:share=0.5+expert-offload:resident=5")
