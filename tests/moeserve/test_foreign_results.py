"""A results directory of somebody else: each command says one line, and reaches nothing outside."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from moeserve.cli import main

STUDY = ("--engine", "simulated", "-s", "tp", "-w", "16:8:6", "-c", "1")
SECRET = "what lies outside 5c1f"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "out"
    with pytest.raises(SystemExit):
        main(["run", *STUDY, "-o", str(root), "--quiet"])
        raise SystemExit(0)
    return root


@pytest.fixture
def foreign(results: Path, tmp_path: Path) -> Path:
    shutil.copytree(results, tmp_path / "out", symlinks=True)
    (tmp_path / "victim").write_text(SECRET)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "out"


def said(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
        raise SystemExit(0)
    shown = capfd.readouterr()
    return int(ended.value.code or 0), shown.out + shown.err


def run_file(root: Path) -> Path:
    return next((root / "runs").glob("*.json"))


def link(path: Path, target: Path) -> None:
    path.unlink()
    path.symlink_to(target)


def move_out(root: Path, name: str) -> None:
    (root / name).rename(root.parent / "elsewhere" / name)
    (root / name).symlink_to(root.parent / "elsewhere" / name)


def point(root: Path, path: str) -> None:
    """Have the manifest name another file, whose hash is the true one."""
    manifest = json.loads(run_file(root).read_text())
    manifest["files"][0]["path"] = path
    run_file(root).write_text(json.dumps(manifest))


def rows_out(root: Path, *, link_folder: bool) -> None:
    rows = next((root / "attempts").glob("*/requests.parquet"))
    moved = rows.parent if link_folder else rows
    target = root.parent / "elsewhere" / moved.name
    moved.rename(target)
    moved.symlink_to(target)


def outside_rows(root: Path, path: str) -> None:
    rows = next((root / "attempts").glob("*/requests.parquet"))
    shutil.copy(rows, root.parent / "requests.parquet")
    point(root, path.format(outside=root.parent))


def other_rows(root: Path, table: pa.Table) -> None:
    """Put another table in the place of the rows, with its true hash."""
    rows = next((root / "attempts").glob("*/requests.parquet"))
    pq.write_table(table, rows)
    manifest = json.loads(run_file(root).read_text())
    manifest["files"][0]["sha256"] = hashlib.sha256(rows.read_bytes()).hexdigest()
    run_file(root).write_text(json.dumps(manifest))


def goodput(root: Path, limits: object) -> None:
    manifest = json.loads(run_file(root).read_text())
    manifest["details"]["goodput"] = limits
    run_file(root).write_text(json.dumps(manifest))


def fifo(root: Path) -> None:
    os.mkfifo(root / "runs" / "0.json")


HOSTILE: dict[str, Callable[[Path], None]] = {
    "a run that is a link": lambda root: link(run_file(root), root.parent / "victim"),
    "runs that lie elsewhere": lambda root: move_out(root, "runs"),
    "an attempt that lies elsewhere": lambda root: rows_out(root, link_folder=True),
    "rows that are a link": lambda root: rows_out(root, link_folder=False),
    "rows by an absolute path": lambda root: outside_rows(root, "{outside}/requests.parquet"),
    "rows by a path upwards": lambda root: outside_rows(root, "../requests.parquet"),
    "rows of other columns": lambda root: other_rows(root, pa.table({"x": [1]})),
    "rows of other kinds": lambda root: other_rows(
        root, pa.table({"request": ["a"], "due_s": ["b"], "token_times_s": ["c"]})
    ),
    "a small file of millions of rows": lambda root: other_rows(
        root, pa.table({"request": pa.nulls(20_000_000, pa.int32())})
    ),
    "no column at all": lambda root: other_rows(root, pa.table({})),
    "a limit that is a text": lambda root: goodput(root, {"ttft": "soon"}),
    "limits that are a list": lambda root: goodput(root, ["ttft"]),
    "a FIFO among the runs": fifo,
    "a huge run": lambda root: os.truncate(run_file(root), 10**12),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_verify_reads_nothing_outside_and_says_what_is_wrong(
    kind: str, foreign: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    HOSTILE[kind](foreign)
    code, told = said(capfd, "verify", str(foreign))
    assert code == 2, told
    assert SECRET not in told
    assert "Traceback" not in told
    assert "whole" not in told


@pytest.mark.parametrize(
    "kind",
    [k for k in HOSTILE if "rows" in k or "attempt" in k if "other" not in k and "small" not in k],
)
def test_request_tables_are_not_read_from_outside(
    kind: str, foreign: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    HOSTILE[kind](foreign)
    code, told = said(capfd, "results", str(foreign), "--requests", "--format", "csv")
    assert code == 2
    assert len(told.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["experiment.json", "environments/x.json", "quality/x.json"])
def test_a_link_to_a_file_of_ours_is_in_no_report(
    name: str, foreign: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = foreign / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "victim")
    page = tmp_path / "page.html"
    code, told = said(capfd, "report", str(foreign), "-o", str(page))
    assert code == 2, told
    assert SECRET not in told + (page.read_text() if page.exists() else "")


@pytest.mark.parametrize("name", ["runs", "failed", "attempts", "servers", "environments"])
def test_a_run_writes_nothing_into_a_folder_that_lies_elsewhere(
    name: str, foreign: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(foreign / name)
    (foreign / name).symlink_to(tmp_path / "elsewhere")
    code, told = said(capfd, "run", *STUDY, "--num-runs", "2", "-o", str(foreign), "--quiet")
    assert code == 2, told
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", [".lock", "experiment.json"])
def test_a_run_empties_and_reads_no_file_through_a_link(
    name: str, foreign: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    link(foreign / name, tmp_path / "victim")
    code, told = said(capfd, "run", *STUDY, "--num-runs", "2", "-o", str(foreign), "--quiet")
    assert code == 2, told
    assert (tmp_path / "victim").read_text() == SECRET
    assert SECRET not in told


@pytest.mark.slow
def test_a_directory_reached_by_a_link_is_a_results_directory_all_the_same(
    foreign: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "way").symlink_to(foreign)
    assert said(capfd, "verify", str(tmp_path / "way"))[0] == 0
    assert said(capfd, "run", *STUDY, "-o", str(tmp_path / "way"), "--quiet")[0] == 0
