"""Every command that reads a file refuses a device and a pipe in one line: neither ends."""

import os
from pathlib import Path

import pytest

from moeserve.cli import main

TRANSFORMERS = "run --engine transformers --model tiny-mixtral"
READERS = {
    "": (
        "doctor --log {0}",
        "quality --model tiny-mixtral --engine transformers --text {0} -o out",
        "run {0} --dry-run",
        "run --engine simulated --workload file:{0} --dry-run",
        f"{TRANSFORMERS} --technique prune-experts:share=0.5:text={{0}} --dry-run",
        "run --endpoint https://127.0.0.1:9 --ca-file {0} -o out",
        "run --endpoint http://127.0.0.1:9 --header X-Key=@{0} -o out",
        "run --endpoint http://127.0.0.1:9 --api-key-file {0} -o out",
        "import {0} -o out",
        "anova {0}",
        "select {0} --minimize duration",
        "predict recommend --predictor {0} --model olmoe --hardware H100 --gpus 2",
        "predict study {0} -o new.parquet",
    ),
    ".json": ("estimate --calibration {0}", "estimate --routing {0}"),
    ".csv": ("import x.json --label {0} -o out", "anova {0}"),
    ".yaml": ("estimate --hardware {0}", "run {0} --dry-run"),
    ".parquet": ("anova {0}", "estimate --routing {0}", "report {0} -o r.html"),
    ".gguf": ("run --engine llamacpp --technique gguf:{0} --dry-run",),
}
LINES = [(ending, line) for ending, lines in READERS.items() for line in lines]


@pytest.mark.parametrize(("ending", "line"), LINES, ids=[f"{a}{b}" for a, b in LINES])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_file_that_never_ends_is_refused_at_once(
    ending: str,
    line: str,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"given{ending}"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(SystemExit) as left:
        main(line.format(path).split())
    said = capsys.readouterr().err
    assert left.value.code == 2, said
    assert path.name in said
    assert kind in said or "regular file" in said, said


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("results {}/none", "no such folder"),
        ("results {}", "no runs/ in it"),
        ("watch {}/none", "no such folder"),
        ("quality {}", "no experiment.json in it"),
        ("run {}/study", "its study goes on by"),
    ],
)
def test_a_folder_that_is_not_the_one_that_is_meant_is_named_and_left_as_it_was(
    command: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "experiment.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        main(command.format(tmp_path).split())
    assert ended.value.code == 2
    assert f"{tmp_path}" in (error := capsys.readouterr().err)
    assert told in error
    assert {path.name for path in tmp_path.iterdir()} == {"study"}
