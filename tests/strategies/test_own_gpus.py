"""A user's own GPUs: their files, their names, and where they come in."""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadFile, MoeserveError, UnknownName
from catalog.hardware_table import GPUS
from strategies.documents import LARGEST_FILE_BYTES, read_document
from strategies.own_gpus import (
    find_gpu,
    gpu_of_device,
    is_hashed,
    kept_gpus,
    own_from_json,
    read_gpus,
    unknown_note,
)

ROW = """
hardware: My-GPU
memory_bytes: 48e9
bandwidth_bytes_per_s: 900e9
bfloat16_flops_per_s: 180e12
aliases: [mine]
driver_names: [NVIDIA Mine 48GB]
"""
AS_JSON = {
    "hardware": "My-GPU",
    "memory_bytes": 48e9,
    "bandwidth_bytes_per_s": 900e9,
    "bfloat16_flops_per_s": 180e12,
}


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that rows are kept in."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "moeserve"
    folder.mkdir()
    return folder


def written(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def test_yaml_json_and_toml_files_of_one_row_are_the_same_gpu(tmp_path: Path) -> None:
    toml = "\n".join(f"{key} = {json.dumps(value)}" for key, value in AS_JSON.items())
    files = {"a.yaml": ROW, "b.json": json.dumps(AS_JSON), "c.toml": toml}
    names = {find_gpu(written(tmp_path / name, text)).name for name, text in files.items()}
    assert len(names) == 1
    assert is_hashed(names.pop())


def test_the_same_numbers_are_one_gpu_wherever_the_file_lies_and_others_are_another(
    tmp_path: Path,
) -> None:
    here = find_gpu(written(tmp_path / "a.yaml", ROW)).name
    assert find_gpu(written(tmp_path / "deep" / "b.yml", ROW + "source: a friend\n")).name == here
    other = find_gpu(written(tmp_path / "c.yaml", ROW.replace("900e9", "901e9"))).name
    assert other != here
    assert other.partition("#")[0] == here.partition("#")[0] == "My-GPU"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.yaml", "hardware: [", "a.yaml: is not YAML: .*line 1"),
        ("a.yaml", "", "a.yaml: a GPU: got None, allowed: fields and values"),
        ("a.yaml", "just text", "a.yaml: a GPU: got 'just text'"),
        ("a.yaml", ROW + "memory_bytes: 1\n", "key 'memory_bytes' stands twice"),
        ("a.yaml", ROW + "x: &a 1\ny: *a\n", "anchors and aliases are not allowed"),
        ("a.yaml", ROW + "fp8_flop_per_s: 1\n", "did you mean fp8_flops_per_s"),
        ("a.yaml", ROW.replace("48e9", "-1"), "a.yaml: memory_bytes: got -1.0, allowed: bytes"),
        ("a.yaml", f"- {ROW.strip().replace(chr(10), chr(10) + '  ')}\n- 3", "row 2: a GPU: got 3"),
        ("a.yaml", "[]", "holds 0 GPUs .none."),
        ("a.json", "{", "a.json: is not JSON"),
        ("a.json", '{"hardware": 1, "hardware": 2}', "key 'hardware' stands twice"),
        ("a.json", '{"memory_bytes": NaN}', "NaN is no number of JSON"),
        ("a.json", "[" * 100_000, "a.json: is not JSON"),
        ("a.toml", "a = ", "a.toml: is not TOML"),
        ("a.yaml", " " * (LARGEST_FILE_BYTES + 1), "more than the 1000000 bytes"),
        ("a.yaml", ROW.replace("My-GPU", "h100"), "allowed: another: H100 is a row of moeserve's"),
        ("a.yaml", ROW.replace("[mine]", "[NVIDIA H200]"), "aliases: got 'NVIDIA H200'"),
    ],
)
def test_a_file_that_is_no_gpu_is_refused_in_one_line_that_names_it(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    with pytest.raises(BadFile, match=told) as caught:
        find_gpu(written(tmp_path / name, text))
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such hardware file"):
        find_gpu(str(tmp_path / "none.yaml"))
    with pytest.raises(BadFile, match="is a folder"):
        find_gpu(f"{tmp_path}/")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="cannot be read"):
        find_gpu(str(tmp_path / "x.yaml"))


@pytest.mark.slow
@given(
    text=st.text(alphabet=string.printable, max_size=200) | st.binary(max_size=60).map(repr),
    suffix=st.sampled_from([".yaml", ".json", ".toml"]),
)
def test_any_text_is_a_document_or_a_bad_file(
    tmp_path_factory: pytest.TempPathFactory, text: str, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("documents") / f"any{suffix}"
    path.write_text(text)
    try:
        read_document(path, "hardware")
        read_gpus(path)
    except BadFile as error:
        assert str(error).startswith(str(path))


def test_rows_that_are_kept_are_found_by_every_name(kept: Path) -> None:
    written(kept / "hardware.yaml", ROW)
    written(kept / "hardware" / "b.yaml", ROW.replace("My-GPU", "Other").replace("[mine]", "[o]")
            .replace("NVIDIA Mine 48GB", "NVIDIA Other"))  # fmt: skip
    written(kept / "hardware" / "notes.txt", "no row")
    mine, other = kept_gpus()
    for name in ("My-GPU", "my gpu", "mine", "NVIDIA Mine 48GB", mine.name):
        assert find_gpu(name) == mine
    assert find_gpu("Other") == other
    assert other.file.endswith("b.yaml")
    assert find_gpu("mine", price_per_hour_usd=2.5).price_per_hour_usd == 2.5


def test_a_list_of_rows_is_kept_in_yaml_and_under_gpus_in_toml(kept: Path) -> None:
    rows = [AS_JSON, AS_JSON | {"hardware": "Second"}]
    written(kept / "hardware.json", json.dumps(rows))
    assert [gpu.name.partition("#")[0] for gpu in kept_gpus()] == ["My-GPU", "Second"]
    with pytest.raises(BadFile, match=r"holds 2 GPUs .*name one"):
        find_gpu(str(kept / "hardware.json"))
    (kept / "hardware.json").unlink()
    body = "\n".join(f"{key} = {json.dumps(value)}" for key, value in AS_JSON.items())
    written(kept / "hardware.toml", f"[[gpus]]\n{body}\n")
    assert [gpu.name.partition("#")[0] for gpu in kept_gpus()] == ["My-GPU"]


def test_two_kept_rows_of_one_name_are_refused_with_both_files(kept: Path) -> None:
    first = written(kept / "hardware.yaml", ROW)
    second = written(kept / "hardware" / "b.yaml", ROW.replace("48e9", "40e9"))
    with pytest.raises(BadFile, match="a GPU of this name is in") as caught:
        kept_gpus()
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_a_hash_of_other_numbers_is_unknown_and_the_kept_one_is_offered(kept: Path) -> None:
    written(kept / "hardware.yaml", ROW)
    with pytest.raises(UnknownName, match=r"With other numbers there is My-GPU#[0-9a-f]{8}"):
        find_gpu("My-GPU#00000000")


def test_a_device_is_first_what_the_user_asks_for_then_ours_then_what_is_kept(
    kept: Path, tmp_path: Path
) -> None:
    text = ROW.replace("NVIDIA Mine 48GB", "NVIDIA H200").replace("48e9", "150e9")
    capped = find_gpu(written(tmp_path / "capped.yaml", text))
    device = ("NVIDIA H200", 150.75e9)
    assert gpu_of_device(*device, (capped,)) == capped
    assert gpu_of_device(*device) == GPUS["H200"]
    assert gpu_of_device("NVIDIA Mine 48GB", 48e9) is None
    written(kept / "hardware.yaml", ROW)
    assert gpu_of_device("NVIDIA Mine 48GB", 48e9) == find_gpu("mine")
    assert gpu_of_device("NVIDIA Mine 48GB", 24e9) is None


def test_a_row_in_json_is_the_same_gpu_as_its_file(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", json.dumps(AS_JSON))
    assert own_from_json(json.dumps(AS_JSON)).name == find_gpu(path).name
    for text in ("{", "[]", '{"hardware": "H100"}'):
        with pytest.raises(MoeserveError):
            own_from_json(text)


def test_what_is_left_out_for_unknown_gpus_is_said_once() -> None:
    assert unknown_note([]) == ""
    told = unknown_note(["NVIDIA T1000", "NVIDIA T1000"])
    assert told.count("NVIDIA T1000") == 1
    assert "moeserve hardware --help" in told
