"""A model named on the command line: where it is looked for, and what is said when it is not."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.errors import BadFile, UnknownName
from catalog.from_hf import load_model
from catalog.model_table import MODELS
from catalog.reader.file import LARGEST_FILE, read_config

DENSE = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 100,
    "max_position_embeddings": 256,
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache and no network."""
    directory = tmp_path / "hf-home" / "hub"
    directory.mkdir(parents=True)
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(directory.parent))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return directory


def write(path: Path, config: object = DENSE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config))
    return path


def test_a_catalog_name_wins_over_a_directory_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "mixtral" / "config.json")
    monkeypatch.chdir(tmp_path)
    assert load_model("mixtral") is MODELS["Mixtral-8x7B"]
    assert load_model("./mixtral").hidden == 64


def test_a_directory_and_its_config_are_the_same_model(tmp_path: Path) -> None:
    path = write(tmp_path / "with spaces é" / "config.json")
    by_directory, by_file = load_model(str(path.parent)), load_model(str(path))
    assert by_directory == by_file
    assert by_file.name == "with spaces é"
    assert by_file.hf_id is None
    assert str(path) in by_file.source


def test_a_config_under_another_name_names_the_model(tmp_path: Path) -> None:
    assert load_model(str(write(tmp_path / "my-model.json"))).name == "my-model"


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_a_hub_id_is_found_in_the_cache_of_either_variable(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "elsewhere"
    hub = root / "hub" if variable == "HF_HOME" else root
    write(hub / "models--some--Thing-1B" / "snapshots" / "abc" / "config.json")
    monkeypatch.setenv(variable, str(root))
    found = load_model("some/Thing-1B")
    assert (found.name, found.hf_id, found.hidden) == ("some/Thing-1B", "some/Thing-1B", 64)


def test_the_main_branch_wins_over_a_newer_snapshot(cache: Path) -> None:
    repository = cache / "models--some--thing"
    write(repository / "snapshots" / "main-commit" / "config.json")
    newer = write(repository / "snapshots" / "other" / "config.json", {**DENSE, "hidden_size": 32})
    os.utime(newer, (2e9, 2e9))
    assert load_model("some/thing").hidden == 32
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("main-commit")
    assert load_model("some/thing").hidden == 64


def test_a_snapshots_path_is_named_by_its_hub_id(cache: Path) -> None:
    path = write(cache / "models--some--thing" / "snapshots" / "abc" / "config.json")
    assert load_model(str(path.parent)).name == "some/thing"


def test_an_id_that_is_not_cached_says_how_to_get_it() -> None:
    with pytest.raises(
        BadFile, match=r"HF_HUB_OFFLINE is set.*`hf download some/thing config\.json`"
    ):
        load_model("some/thing")


def test_only_the_config_and_quantisation_of_an_uncached_id_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="it fetches configs")
    asked: list[tuple[str, str]] = []

    def download(hf_id: str, filename: str) -> str:
        asked.append((hf_id, filename))
        return str(write(tmp_path / "fetched" / "config.json"))

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "get_hf_file_metadata", lambda url, timeout: None)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    assert load_model("some/thing").hf_id == "some/thing"
    assert asked == [("some/thing", "config.json"), ("some/thing", "hf_quant_config.json")]


def test_a_fetch_that_fails_says_why_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="it fetches configs")

    def gated(url: str, timeout: float) -> None:
        raise OSError("403 Client Error.\n\nAccess to model some/thing is restricted")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "get_hf_file_metadata", gated)
    with pytest.raises(BadFile, match=r"OSError: 403 Client Error\. Access.*hf download") as caught:
        load_model("some/thing")
    assert str(caught.value).isprintable()


def test_a_missing_path_is_not_mistaken_for_a_hub_id() -> None:
    with pytest.raises(BadFile, match=r"^/no/such/config\.json: does not exist$"):
        load_model("/no/such/config.json")


@pytest.mark.parametrize("name", ["", "  ", "no-such-model", "a\0b", "x" * 5000, "../..\nx"])
def test_a_name_that_is_nothing_is_refused_in_one_line(name: str) -> None:
    with pytest.raises((UnknownName, BadFile)) as caught:
        load_model(name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON"),
        (b"<!DOCTYPE html>", "is not JSON"),
        (b"\xff\xfe\x00\xd8", "is not JSON"),
        (b"[1, 2]", "holds a list, not an object"),
        (b'"mixtral"', "holds a str, not an object"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"vocab_size": ' + b"9" * 10_000 + b"}", "is not JSON"),
        (b"{}", "is missing"),
    ],
    ids=["empty", "html", "not-utf", "list", "text", "deep", "huge-number", "no-keys"],
)
def test_a_file_that_is_no_config_is_refused_in_one_line(
    content: bytes, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=problem) as caught:
        load_model(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_a_huge_file_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as stream:
        stream.truncate(LARGEST_FILE + 1)
    with pytest.raises(BadFile, match="is over 10 MiB"):
        load_model(str(path))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    os.mkfifo(path)
    with pytest.raises(BadFile, match="is not a regular file"):
        load_model(str(path))


def test_a_directory_without_a_config_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"holds no config\.json"):
        load_model(str(tmp_path))


def test_remote_code_named_in_a_config_is_neither_loaded_nor_counted(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('loaded')")
    plain = load_model(str(write(tmp_path / "plain" / "config.json")))
    mapped = {**DENSE, "auto_map": {"AutoConfig": "evil.Config"}}
    assert load_model(str(write(tmp_path / "evil" / "config.json", mapped))).total_params == (
        plain.total_params
    )


def outcome(path: Path) -> dict[str, object] | str:
    try:
        return read_config(path)
    except BadFile as error:
        return str(error)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_bad_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    read = outcome(path)
    assert isinstance(read, dict) or read.isprintable()


def test_a_gguf_file_and_mistrals_own_format_are_refused_with_the_way_out(tmp_path: Path) -> None:
    weights = tmp_path / "q4.gguf"
    weights.write_bytes(b"GGUF")
    for path in (weights, tmp_path):
        with pytest.raises(BadFile, match="with -t gguf:FILE"):
            load_model(str(path))
    (tmp_path / "params.json").write_text("{}")
    with pytest.raises(BadFile, match=r"Mistral's own params\.json, .* --endpoint"):
        load_model(str(tmp_path))
