"""Plain values of small files: numbers as YAML 1.2 has them, all else as in 1.1."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from strategies.documents import read_yaml


def value_of(text: str, folder: Path) -> object:
    path = folder / "f.yaml"
    path.write_text(f"a: {text}\n")
    read = read_yaml(path, "test")
    assert isinstance(read, dict)
    return read["a"]


@pytest.mark.parametrize("text", ["32:32:16", "1:20", "128:128:100", "1:20.5", "190:20:30.15"])
def test_numbers_with_colons_are_text(text: str, tmp_path: Path) -> None:
    assert value_of(text, tmp_path) == text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("yaml")


@pytest.mark.slow
@given(st.from_regex(r"[-+]?[0-9._xeabfin+-]{1,8}", fullmatch=True))
def test_every_other_plain_value_is_what_yaml_says(folder: Path, text: str) -> None:
    try:
        expected = yaml.safe_load(f"a: {text}\n")["a"]
    except (yaml.YAMLError, ValueError):
        return
    found = value_of(text, folder)
    assert repr(found) == repr(expected)
