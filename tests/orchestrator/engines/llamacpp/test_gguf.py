"""The head of a GGUF file: what is read of it, and that no damaged one is taken for whole."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadFile
from orchestrator.engines.llamacpp.gguf import GgufHead, parts, read_head


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key: str, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def file_of(*entries: bytes, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, 0, len(entries)) + b"".join(entries)


TOKENS = struct.pack("<IQ", 8, 3) + text("a") + text("bc") + text("")
SCORES = struct.pack("<IQ", 6, 2) + struct.pack("<ff", 1.0, 2.0)
WHOLE = file_of(
    entry("general.architecture", 8, text("llama")),
    entry("tokenizer.ggml.tokens", 9, TOKENS),
    entry("tokenizer.ggml.scores", 9, SCORES),
    entry("llama.expert_count", 4, struct.pack("<I", 8)),
    entry("llama.rope.freq_base", 6, struct.pack("<f", 0.5)),
    entry("tokenizer.ggml.add_bos_token", 7, b"\x01"),
)


def read(tmp_path: Path, content: bytes) -> GgufHead:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    return read_head(path)


def test_values_come_by_key_and_arrays_by_their_length(tmp_path: Path) -> None:
    head = read(tmp_path, WHOLE + b"tensors")
    assert head.metadata == {
        "general.architecture": "llama",
        "tokenizer.ggml.tokens": 3,
        "tokenizer.ggml.scores": 2,
        "llama.expert_count": 8,
        "llama.rope.freq_base": 0.5,
        "tokenizer.ggml.add_bos_token": True,
    }
    assert (head.of_model("expert_count"), head.vocab) == (8, 3)
    assert head.of_model("expert_used_count") is None
    assert head.size_bytes == len(WHOLE) + 7


@given(cut=st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_anywhere_within_its_head_is_refused(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(BadFile):
        read(tmp_path_factory.mktemp("cut"), WHOLE[:cut])


@given(at=st.integers(0, len(WHOLE) - 1), byte=st.integers(0, 255))
def test_a_byte_changed_anywhere_is_read_or_refused_and_never_crashes(
    at: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    changed = bytearray(WHOLE)
    changed[at] = byte
    folder = tmp_path_factory.mktemp("changed")
    try:
        assert read(folder, bytes(changed)).size_bytes == len(WHOLE)
    except BadFile as error:
        assert "model.gguf" in str(error)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "does not begin with GGUF"),
        (b"PK\x03\x04 a zip file", "does not begin with GGUF"),
        (b"GGUF", "no whole GGUF file"),
        (file_of(version=1), "version 1, not 2 or 3"),
        (file_of(entry("a", 99, b"")), "unknown type 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**60), "entries of metadata"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(BadFile, match=told):
        read(tmp_path, content)


def test_a_missing_file_and_a_directory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such file"):
        read_head(tmp_path / "absent.gguf")
    with pytest.raises(BadFile, match="is a folder"):
        read_head(tmp_path)


def test_a_split_file_counts_all_its_parts_and_misses_none(tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    first.write_bytes(WHOLE)
    assert [part.name for part in parts(first)] == [first.name, "m-00002-of-00002.gguf"]
    with pytest.raises(BadFile, match=r"m-00002-of-00002\.gguf is missing"):
        read_head(first)
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(b"x" * 100)
    assert read_head(first).size_bytes == len(WHOLE) + 100
