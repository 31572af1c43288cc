"""Names of models on a command line."""

from pathlib import Path

import pytest

from moeserve.cli.inputs import model_names


def test_a_list_is_split_and_a_path_that_exists_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b").mkdir()
    assert model_names(["olmoe, mixtral", "a,b", "x"]) == ("olmoe", "mixtral", "a,b", "x")
    assert model_names(["a" * 9000, "b\0c,d"]) == ("a" * 9000, "b\0c", "d")
