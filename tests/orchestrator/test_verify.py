"""What `verify` says of a directory, by one process and by several."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from orchestrator import verify
from orchestrator.results.compact import compact
from orchestrator.results.manifests import Manifest, StoredFile, read_manifests
from orchestrator.results.rows import rows_of, write_parquet
from orchestrator.verify import checked_and_bare, verify_directory
from workloads.figures.metrics import summarise

GOLDEN = Path(__file__).parent / "results" / "golden" / "v1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "out"))


def spoil(root: Path) -> list[tuple[str, str]]:
    """Damage the second run, and let the attempt that failed miss a file; return what to say."""
    _, second = (m for m in read_manifests(root) if m.record.verdict == "valid")
    (file,) = second.files
    (root / file.path).write_bytes(b"other")
    (path,) = (root / "failed").iterdir()
    failed = msgspec.json.decode(path.read_bytes(), type=Manifest)
    lost = StoredFile(path="attempts/lost/requests.parquet", size_bytes=1, sha256="0")
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(failed, files=(lost,))))
    return [
        (
            second.record.run_id,
            _said(root, file, "is not the file that was published"),
        ),
        (failed.record.run_id, _said(root, lost, "is missing, though its run was published")),
    ]


def _said(root: Path, file: StoredFile, problem: str) -> str:
    return f"{root / file.path}: {problem}"


def told(root: Path) -> list[tuple[str, str]]:
    return [(each.run_id, each.problem) for each in verify_directory(root)]


def test_published_runs_come_first_and_then_attempts_of_those_that_never_finished(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(root) == []
    wanted = spoil(root)
    for at_once in (1, 2):
        monkeypatch.setattr(verify, "RUNS_AT_ONCE", at_once)
        assert told(root) == wanted


def test_a_figure_that_its_rows_do_not_give_is_told(root: Path) -> None:
    (path, *_) = sorted((root / "runs").iterdir())
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    record = msgspec.structs.replace(manifest.record, mean_ttft_ms=1.5)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, record=record)))
    ((run_id, problem),) = told(root)
    assert run_id == record.run_id
    assert problem.startswith("mean_ttft_ms was published as 1.5, its rows give ")


@pytest.mark.slow
def test_a_percentile_of_few_that_an_earlier_release_published_is_held_to_the_rows(
    root: Path,
) -> None:
    (path, *_) = sorted((root / "runs").iterdir())
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    rows = rows_of(root / manifest.files[0].path)
    true = summarise(rows)["p99_ttft_ms"]
    assert (manifest.record.p99_ttft_ms, isinstance(true, float)) == (None, True)
    for stored, problems in ((true, 0), (1.5, 1)):
        record = msgspec.structs.replace(manifest.record, p99_ttft_ms=stored)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, record=record)))
        assert len(told(root)) == problems


def test_a_run_of_before_that_summed_prompts_nobody_counted_is_still_whole(root: Path) -> None:
    (path, *_) = sorted((root / "runs").iterdir())
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    (file,) = manifest.files
    uncounted = [replace(row, input_tokens=0) for row in rows_of(root / file.path)]
    (root / file.path).unlink()
    write_parquet(root / file.path, manifest.record.run_id, uncounted)
    content = (root / file.path).read_bytes()
    stored = StoredFile(
        path=file.path, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    record = msgspec.structs.replace(manifest.record, total_input_tokens=0)
    manifest = msgspec.structs.replace(manifest, record=record, files=(stored,))
    path.write_bytes(msgspec.json.encode(manifest))
    assert told(root) == []


def test_several_processes_say_what_one_does_also_of_bundles(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "WORTH_MORE_CORES", 1)
    monkeypatch.setattr(verify, "RUNS_AT_ONCE", 1)
    monkeypatch.setattr(verify, "_cores", lambda: 2)
    assert told(root) == []
    wanted = spoil(root)
    assert told(root) == wanted
    compact(root)
    assert not list((root / "runs").iterdir())
    assert told(root) == wanted
    (root / "runs" / "torn.json").write_bytes(b'{"schema":1')
    found = told(root)
    (torn,) = [problem for run_id, problem in found if run_id == "torn"]
    assert "torn.json: is damaged" in torn
    assert [each for each in found if each[0] != "torn"] == wanted


def test_runs_without_rows_are_counted_as_unchecked(root: Path) -> None:
    (path, *_) = sorted((root / "runs").iterdir())
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, files=())))
    assert told(root) == []
    assert checked_and_bare(root) == (1, 1)
