"""`moeserve models --model`: how any configuration is read, and what is not known of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from catalog.reader.notes import warn_once
from moeserve.cli import main

Capture = pytest.CaptureFixture[str]
KEYS = {
    "model", "counted", "total_parameters", "active_parameters", "weight_bytes", "weight_dtype",
    "cache_bytes", "notes",
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
}


@pytest.fixture(autouse=True)
def unsaid() -> Iterator[None]:
    warn_once.cache_clear()
    yield
    warn_once.cache_clear()


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(words)
    except SystemExit as leave:
        code = int(leave.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def config(folder: Path, **changes: object) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))
    return str(folder)


def reading(capsys: Capture, *words: str) -> Any:
    code, out, err = run(capsys, "models", *words, "--format", "json")
    assert code == 0, err
    return json.loads(out)


def test_one_model_is_one_object_and_several_are_an_array(capsys: Capture, tmp_path: Path) -> None:
    path = config(tmp_path / "mine")
    one = reading(capsys, "--model", path, "--context", "1000")
    assert one.keys() == KEYS
    assert (one["model"], one["counted"], one["weight_dtype"]) == ("mine", "exact", "bfloat16")
    assert one["weight_bytes"] == 2 * one["total_parameters"]
    assert one["cache_bytes"] == 2 * 1000 * 2 * (2 * 2 * 16)
    both = reading(capsys, "--model", path, "--model", "mixtral")
    assert [each["model"] for each in both] == ["mine", "Mixtral-8x7B"]


def test_any_json_file_is_a_model(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "weird name.json"
    path.write_text(json.dumps(CONFIG))
    assert reading(capsys, "--model", str(path))["model"] == "weird name"


def test_what_is_not_counted_is_null_with_a_note_and_no_error(
    capsys: Capture, tmp_path: Path
) -> None:
    strange = reading(capsys, "--model", config(tmp_path / "strange", memory_layer_width=3))
    assert strange["counted"] == "no"
    assert {strange[key] for key in KEYS - {"model", "counted", "notes"}} == {None}
    assert "memory_layer_width" in strange["notes"]
    packed = config(tmp_path / "packed", quantization_config={"quant_method": "vptq"})
    half = reading(capsys, "--model", packed)
    assert (half["counted"], half["weight_bytes"], half["weight_dtype"]) == ("exact", None, None)
    assert half["total_parameters"] > 0
    assert "vptq" in half["notes"]


def test_a_generic_reading_is_told_of_in_one_line_wherever_it_is_used(
    capsys: Capture, tmp_path: Path
) -> None:
    path = config(tmp_path / "new", model_type="newcomer", num_experts=4, num_experts_per_tok=2)
    for command in (("models",), ("qs", "--quality", "3")):
        warn_once.cache_clear()
        code, _, err = run(capsys, *command, "--model", path)
        assert code == 0
        told = [line for line in err.splitlines() if "newcomer" in line]
        assert len(told) == 1
        assert "may be missed" in told[0]


@pytest.mark.parametrize(
    "command",
    [
        ("qs", "--quality", "3"),
        ("autotune", "--gpus", "8", "--hardware", "H200"),
        ("estimate", "--hardware", "H200", "--strategy", "tp"),
        ("plan", "--engine", "simulated", "--strategy", "tp"),
    ],
)
def test_estimates_refuse_what_is_not_counted_and_name_its_keys(
    capsys: Capture, tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = config(tmp_path / "strange", memory_layer_width=3)
    code, out, err = run(capsys, *command, "--model", path)
    assert (code, out) == (2, "")
    assert "memory_layer_width: not known of model_type 'llama'" in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{broken", "is not JSON"),
        ("[]", "holds a list, not an object"),
        (json.dumps({**CONFIG, "hidden_size": -64}), "hidden_size: got -64"),
        (json.dumps({**CONFIG, "num_key_value_heads": 3}), "3 does not divide 4"),
        (json.dumps({**CONFIG, "layer_types": ["full_attention"]}), "1 entries for 2 layers"),
        (" " * (11 * 2**20) + "{}", "is over 10 MiB"),
    ],
    ids=["broken", "list", "negative", "contradiction", "layers", "large"],
)
def test_bad_input_is_one_line_and_exit_code_2(
    capsys: Capture, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    code, out, err = run(capsys, "models", "--model", str(tmp_path))
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_a_directory_without_a_config_is_told_in_one_line(capsys: Capture, tmp_path: Path) -> None:
    code, out, err = run(capsys, "models", "--model", str(tmp_path))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "holds no config.json" in err
