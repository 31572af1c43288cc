"""Quantisation asked for: what reaches the server, and what is refused before anything loads."""

from typing import Any

import pytest

from catalog.errors import BadValue, MissingExtra
from catalog.model_table import MODELS
from orchestrator.engines.huggingface import kinds
from orchestrator.experiment.experiment import Experiment
from orchestrator.plan import Plan, make_plan
from servers.huggingface.quant import options as quant
from servers.huggingface.quant.options import QuantOptions, arguments_of, options_of, widths_of
from strategies.technique import parse_technique

TINY = MODELS["tiny-mixtral"]


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are made as if everything were installed; nothing is imported."""
    monkeypatch.setattr(kinds, "require_transformers", lambda: None)
    monkeypatch.setattr(quant, "find_spec", lambda name: name)


def plan(technique: str, model: str = "tiny-mixtral") -> Plan:
    return make_plan(Experiment(models=(model,), techniques=(technique,)), "transformers")


@pytest.mark.parametrize(
    ("technique", "words"),
    [
        ("bnb-nf4", "--scheme bnb-nf4"),
        ("variant:some/other+torchao-int8", "--scheme torchao-int8"),
        ("hqq", "--scheme hqq --bits 4 --group 64"),
        ("hqq:bits=2:group=16", "--scheme hqq --bits 2 --group 16"),
        ("bf16+torchao-int4", "--scheme torchao-int4 --group 128"),
    ],
)
def test_the_server_is_told_the_scheme_with_its_defaults(technique: str, words: str) -> None:
    options = options_of(parse_technique(technique))
    assert options is not None
    assert " ".join(arguments_of(options)) == words
    assert options_of(parse_technique("bf16")) is None


def test_a_library_that_is_not_there_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "require_transformers", lambda: None)
    monkeypatch.setattr(quant, "find_spec", lambda name: None if name == "bitsandbytes" else name)
    with pytest.raises(MissingExtra, match=r"bnb-nf4 .*pip install 'moeserve\[quant\]'"):
        plan("bnb-nf4")
    plan("torchao-int8")


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize(
    ("technique", "told"),
    [
        ("hqq:group=128", "the 64 that the widths of tiny-mixtral share: 8, 16, 32, 64"),
        ("bf16+torchao-int4", "the 64 that the widths of tiny-mixtral share: 32, 64"),
        ("torchao-int4:group=32", "got 'float32', allowed: bfloat16"),
        ("bf16+torchao-int4:group=32", r"bnb-nf4, bnb-fp4, hqq, .*torchao-int4 needs a GPU"),
    ],
)
def test_what_cannot_be_quantised_so_is_refused_with_the_way_out(technique: str, told: str) -> None:
    with pytest.raises(BadValue, match=told):
        plan(technique)


@pytest.mark.usefixtures("libraries")
def test_every_other_scheme_can_be_planned_on_a_cpu() -> None:
    for scheme in quant.SCHEMES:
        if scheme != "torchao-int4":
            assert plan(scheme).refused == (), scheme


@pytest.mark.parametrize(
    ("scheme", "group", "told"),
    [("bnb-nf4", 64, "bnb-nf4 stands alone"), ("torchao-int4", 16, "32, 64, 128, 256")],
)
def test_a_group_that_a_scheme_does_not_have_is_refused_by_the_server_too(
    scheme: Any, group: int, told: str
) -> None:
    with pytest.raises(BadValue, match=told):
        QuantOptions(scheme=scheme, group=group)


def test_the_usual_groups_divide_every_mixture_of_experts_of_the_catalog() -> None:
    for name, group in (("Mixtral-8x7B", 256), ("OLMoE-1B-7B", 256), ("DeepSeek-V3", 128)):
        QuantOptions(scheme="hqq", group=group).check_widths(widths_of(MODELS[name]), name)
    with pytest.raises(BadValue, match="the 128 that the widths of Qwen"):
        widths = widths_of(MODELS["Qwen1.5-MoE-A2.7B"])
        QuantOptions(scheme="hqq", group=256).check_widths(widths, "Qwen1.5-MoE-A2.7B")
    with pytest.raises(BadValue, match="none of its sizes"):
        QuantOptions(scheme="torchao-int4", group=32).check_widths((48,), "a model")
