"""The llama.cpp engine before anything starts: its command, and what it refuses."""

import struct
from itertools import pairwise
from pathlib import Path

import pytest

from catalog.errors import BadFile, BadValue, Infeasible, MissingExtra
from catalog.model_table import MODELS
from orchestrator.engine import LaunchContext
from orchestrator.engines.llamacpp.checks import difference_from
from orchestrator.engines.llamacpp.command import llamacpp_command, slot_tokens, slots_of
from orchestrator.engines.llamacpp.gguf import GgufHead, Value
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.plan import Plan, make_plan

MIXTRAL: dict[str, Value] = {
    "general.architecture": "llama",
    "llama.embedding_length": 128,
    "llama.expert_count": 8,
    "llama.expert_used_count": 2,
    "tokenizer.ggml.tokens": 512,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A head that says it is the tiny Mixtral, without any weights."""
    path = tmp_path / "model.gguf"
    path.write_bytes(head_of({key: value for key, value in MIXTRAL.items() if "tokens" not in key}))
    return path


def head_of(metadata: dict[str, Value]) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    def typed(value: Value) -> bytes:
        if isinstance(value, str):
            return struct.pack("<I", 8) + text(value)
        return struct.pack("<II", 4, int(value))

    entries = b"".join(text(key) + typed(value) for key, value in metadata.items())
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata)) + entries


def asked(*techniques: str, command: tuple[str, ...] = ("server",), **fields: object) -> Experiment:
    given = {"models": ("tiny-mixtral",), "workloads": ("16:16:8",), "concurrency": "1", **fields}
    server = ServerOptions(command=command)
    return Experiment(engine="llamacpp", techniques=techniques, server=server, **given)  # type: ignore[arg-type]


def plan(*techniques: str, **fields: object) -> Plan:
    return make_plan(asked(*techniques, **fields), "llamacpp")  # type: ignore[arg-type]


def command(planned: Plan) -> list[str]:
    (group,) = planned.groups
    context = LaunchContext(planned.experiment, planned.models["tiny-mixtral"], Path())
    return llamacpp_command(group, context, base=["server"], port=7, served_name="NAME")


def test_the_server_gets_a_slot_for_each_request_in_flight_and_room_for_its_tokens(
    file: Path,
) -> None:
    words = command(plan(f"gguf:{file}", concurrency="1,4", workloads=("16:16:8", "300:212:8")))
    given = dict(pairwise(words))
    assert given["--parallel"] == "4"
    assert given["--ctx-size"] == str(4 * 768)
    assert given["--model"] == str(file)
    assert given["--device"] == "none"
    assert "--no-cache-prompt" in words


def test_the_longest_answer_fits_its_slot_with_a_token_to_spare() -> None:
    for output in range(1, 600):
        context = slot_tokens(asked(workloads=(f"16:{output}:8",)), "m")
        assert 16 + output + 1 < context <= 16 + output + 2 + 255
        assert context % 256 == 0


def test_arrivals_at_a_rate_without_a_cap_are_given_some_slots() -> None:
    assert slots_of(asked(concurrency=None, request_rates=(2.0,))) == 32
    assert slots_of(asked(concurrency="5", request_rates=(2.0,))) == 5


@pytest.mark.parametrize(
    ("technique", "flags"),
    [("host-experts", ["--cpu-moe"]), ("host-experts:layers=2", ["--n-cpu-moe", "2"])],
)
def test_experts_on_the_host_are_told_in_llama_cpps_words(
    file: Path, technique: str, flags: list[str]
) -> None:
    words, without = command(plan(f"gguf:{file}+{technique}")), command(plan(f"gguf:{file}"))
    assert [word for word in words if word not in without] == flags


def test_weights_must_be_named() -> None:
    with pytest.raises(BadValue, match=r"gguf:FILE .*convert_hf_to_gguf\.py"):
        plan("none")
    with pytest.raises(BadValue, match="gguf:FILE"):
        plan("host-experts")


def test_a_file_that_is_missing_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        plan(f"gguf:{tmp_path}/absent.gguf")
    other = tmp_path / "model.safetensors"
    other.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(BadFile, match="does not begin with GGUF"):
        plan(f"gguf:{other}")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("llama.expert_count", 60, "expert_count is 60, that of tiny-mixtral 8"),
        ("llama.embedding_length", 64, "embedding_length is 64"),
        ("llama.expert_used_count", 4, "expert_used_count is 4"),
        ("tokenizer.ggml.tokens", 500, "it knows 500 tokens, tiny-mixtral 512"),
    ],
)
def test_a_file_of_another_model_is_told_from_the_one_named(
    key: str, value: int, told: str
) -> None:
    model = MODELS["tiny-mixtral"]
    assert difference_from(GgufHead(MIXTRAL, 1), model) == ""
    assert told in difference_from(GgufHead({**MIXTRAL, key: value}, 1), model)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"block_count": 2}, ""),
        ({"block_count": 3, "nextn_predict_layers": 1}, ""),
        ({"block_count": 3}, "it has 3 layers, tiny-mixtral 2"),
        ({"block_count": 2, "nextn_predict_layers": 1}, "it has 1 layers, tiny-mixtral 2"),
        ({"block_count": "2"}, ""),
        ({}, ""),
    ],
)
def test_a_file_of_another_depth_is_told_from_the_one_named(
    counts: dict[str, Value], told: str
) -> None:
    model = MODELS["tiny-mixtral"]
    deep = {**MIXTRAL, **{f"llama.{key}": value for key, value in counts.items()}}
    assert difference_from(GgufHead(deep, 1), model) == told


def test_a_file_of_another_model_is_refused(file: Path) -> None:
    with pytest.raises(BadValue, match="a file of tiny-olmoe: its expert_count is 8"):
        plan(f"gguf:{file}", models=("tiny-olmoe",))


def test_a_file_larger_than_the_memory_is_infeasible(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = type("Memory", (), {"total": 100})()
    monkeypatch.setattr("psutil.virtual_memory", lambda: little)
    with pytest.raises(Infeasible, match=r"model\.gguf holds .* CPU has"):
        plan(f"gguf:{file}")


def test_without_a_strategy_it_runs_on_one_device_and_several_are_refused(file: Path) -> None:
    assert [setup.strategy for setup in plan(f"gguf:{file}").setups] == ["single"]
    planned = plan(f"gguf:{file}", strategies=("single", "tp", "pp2"))
    assert [setup.strategy for setup in planned.setups] == ["single"]
    for refused in planned.refused:
        assert "llamacpp engine serves on one device" in refused.reasons[0]


@pytest.mark.parametrize(
    ("technique", "told"),
    [
        ("host-experts:layers=3", "1 to 2, the layers of tiny-mixtral"),
        ("host-experts:layers=0", "1 to 1024"),
        ("kv-fp8", "with the engine llamacpp: none, gguf, host-experts"),
        ("int8", "one method that changes the weights"),
    ],
)
def test_techniques_it_cannot_do_are_refused(file: Path, technique: str, told: str) -> None:
    with pytest.raises(BadValue, match=told):
        plan(f"gguf:{file}+{technique}")


def test_prompts_beyond_the_models_context_are_refused(file: Path) -> None:
    with pytest.raises(BadValue, match="2048 tokens together, not 2064"):
        plan(f"gguf:{file}", workloads=("2000:64:2",))


def test_other_engines_do_not_take_gguf(file: Path) -> None:
    study = Experiment(models=("tiny-mixtral",), techniques=(f"gguf:{file}",), engine="vllm")
    with pytest.raises(BadValue, match="gguf needs --engine llamacpp"):
        make_plan(study, "vllm")


def test_a_missing_server_is_said_with_what_installs_it(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"llama-server .* pip install 'moeserve\[llamacpp\]'"):
        plan(f"gguf:{file}", command=())


def test_it_is_among_the_engines() -> None:
    assert type(engine_kind("llamacpp").build()).__name__ == "LlamaCppEngine"
