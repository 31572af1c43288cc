"""Compaction: every record and row is there at every moment, once, and under its hash."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.errors import BadFile, BadValue
from catalog.inside import read_inside
from orchestrator.results import bundling, compact
from orchestrator.results.bundles import SCHEMA, Bundles, bundles_of, checksum_of_end
from orchestrator.results.bundling import Entry, write_bundle
from orchestrator.results.contents import names_in, read_stored
from orchestrator.results.manifests import Manifest, read_manifests
from orchestrator.results.rows import rows_of, write_parquet
from orchestrator.results.store import Store
from orchestrator.table import request_files
from tests.orchestrator.results.test_store import record, row

RUNS = ("a-r0", "a-r1", "b-r0")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Three runs, of which one failed first, a server with a log and one without."""
    root = tmp_path / "study"
    for folder in ("runs", "failed", "attempts", "servers", "environments"):
        (root / folder).mkdir(parents=True)
    store = Store(root)
    for run_id in RUNS:
        _publish(store, run_id)
    store.record_failure(Manifest(record=record("b-r0", attempt=2, verdict="failed")))
    (store.new_attempt("b-r0")[1] / "requests.jsonl").write_text("a row\n")
    (store.new_server_folder("g") / "server.log").write_text("it began\n")
    store.new_server_folder("g")
    store.keep_environment({"cpu": "one"})
    return root


def _publish(store: Store, run_id: str, **changes: object) -> bool:
    number, folder = store.new_attempt(run_id)
    write_parquet(folder / "requests.parquet", run_id, [row(n) for n in range(3)])
    files = (store.stored(folder / "requests.parquet"),)
    made = record(run_id, attempt=number, num_prompts=3, **changes)
    return store.publish(Manifest(record=made, files=files))


def _told(root: Path) -> object:
    """Everything that a reader learns."""
    manifests = read_manifests(root)
    rows = [rows_of(source) for source in request_files(root, manifests)]
    stored = [read_stored(root, f.path) for m in manifests for f in m.files]
    failed = [read_stored(root, f"failed/{name}") for name in names_in(root, "failed")]
    counted = [[r.request for r in each] for each in rows]
    return manifests, counted, stored, failed, sorted(Store(root).finished())


def _files(root: Path) -> set[str]:
    return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


def test_what_is_read_is_the_same_and_lies_in_one_file(study: Path) -> None:
    before = _told(study)
    done = compact.compact(study)
    assert _told(study) == before
    assert (done.files_before, done.kept) == (len(_files(study)) + done.files - 1, 0)
    assert {name for name in _files(study) if not name.startswith("environments/")} == {
        ".lock", f"bundles/{bundles_of(study).names[0]}",
    }  # fmt: skip
    assert not any((study / "attempts").iterdir())
    assert not any((study / "servers").iterdir())
    compact.compact(study)
    assert len(bundles_of(study).names) == 1, "a second one finds nothing to do"


class _Killed(BaseException):
    """As by `kill -9`: nothing tidies up."""


STEPS: list[tuple[Any, str]] = [
    (bundling.pq.ParquetWriter, "write_table"), (bundling.os, "fsync"), (bundling.os, "link"),
    (Path, "unlink"), (Path, "rmdir"), (compact, "sync_folder"), (compact, "write_bundle"),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "name"), STEPS)
@pytest.mark.parametrize("after", [False, True])
def test_ended_anywhere_nothing_is_lost_and_nothing_is_there_twice(
    study: Path, owner: Any, name: str, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, real = _told(study), getattr(owner, name)
    for nth in (0, 1, 2, 6):
        seen = [0]

        def dies(*a: Any, seen: list[int] = seen, nth: int = nth, **k: Any) -> Any:
            seen[0] += 1
            if seen[0] != nth + 1:
                return real(*a, **k)
            if after:
                real(*a, **k)
            raise _Killed

        copy = shutil.copytree(study, study.parent / f"copy{nth}")
        monkeypatch.setattr(owner, name, dies)
        with contextlib.suppress(_Killed):
            compact.compact(copy)
        monkeypatch.setattr(owner, name, real)
        assert _told(copy) == before
        compact.compact(copy)
        assert _told(copy) == before
        assert not {n for n in _files(copy) if n.startswith(("runs/", "failed/", "attempts/"))}
        if seen[0] <= nth:
            return


def test_work_goes_on_after_it_with_numbers_that_nobody_had(study: Path) -> None:
    compact.compact(study)
    store = Store(study)
    assert not _publish(store, "a-r0"), "the run is published already"
    assert store.new_attempt("b-r0")[0] == 3
    assert store.new_server_folder("g").name == "g.3"
    assert _publish(store, "c-r0")
    assert store.finished() == {*RUNS, "c-r0"}


def test_a_run_is_taken_back_from_a_bundle_and_done_again(study: Path) -> None:
    _publish(Store(study), "c-r0", verdict="invalid")
    compact.compact(study)
    assert Store(study).set_aside("invalid") == ["c-r0"]
    assert Store(study).finished() == set(RUNS)
    assert [m.record.attempt for m in read_manifests(study) if m.record.run_id == "c-r0"] == [1]
    assert _publish(Store(study), "c-r0")
    for _ in range(compact.MOST_SMALL_BUNDLES + 2):  # further ones, until they are joined
        compact.compact(study)
        write_bundle(study, [Entry("servers/h.1/", "folder")])
    compact.compact(study)
    assert len(bundles_of(study).names) <= compact.MOST_SMALL_BUNDLES
    attempts = {m.record.run_id: m.record.attempt for m in read_manifests(study)}
    assert attempts == {**dict.fromkeys(RUNS, 1), "c-r0": 2}


def test_it_refuses_while_something_is_written(study: Path) -> None:
    with Store(study).locked(), pytest.raises(BadValue, match="another one is working"):
        compact.compact(study)
    _, folder = Store(study).new_attempt("d-r0")
    (folder / "requests.jsonl").write_text("a row\n")
    with pytest.raises(BadValue, match=r"d-r0\.a1 has no record"):
        compact.compact(study)
    for path in (folder / "requests.jsonl", folder):
        os.utime(path, (1, 1))
    compact.compact(study)
    assert (folder / "requests.jsonl").exists(), "what was cut off is left alone"


def test_a_file_that_changed_meanwhile_stays_and_counts(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written_again(root: Path, entries: Any) -> Path:
        path = write_bundle(root, entries)
        data = read_inside(root, "runs/a-r0.json").replace(b'"m"', b'"another"')
        (root / "runs/a-r0.json").write_bytes(data)
        return path

    monkeypatch.setattr(compact, "write_bundle", written_again)
    assert compact.compact(study).kept == 1
    assert [m.record.model for m in read_manifests(study)] == ["another", "m", "m"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _repeated(path: Path) -> None:
    texts = {"path": ["runs/x.json"] * 9, "state": ["file"] * 9, "content": [b"x" * 999] * 9}
    pq.write_table(pa.table(texts, schema=SCHEMA), path)  # with dictionaries
    with path.open("rb") as file:
        crc = checksum_of_end(file)
    path.rename(path.with_name(f"000001-{crc}.parquet"))


def _linked(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


@pytest.mark.parametrize("harm", [_cut, _repeated, _linked])
def test_a_bundle_that_is_damaged_or_a_trap_is_refused_by_name(
    study: Path, harm: Callable[[Path], None]
) -> None:
    compact.compact(study)
    harm(next((study / "bundles").iterdir()))
    with pytest.raises(BadFile, match=r"bundles/000001-[0-9a-f]+\.parquet"):
        _told(study)


def test_no_flipped_bit_of_a_bundle_is_read_as_something_else(tmp_path: Path) -> None:
    texts = [Entry(f"runs/{n}.json", "file", b'{"a": "text"}' * 9) for n in range(3)]
    path = write_bundle(tmp_path, [*texts, Entry("runs/3.json", "gone")])
    data, told = path.read_bytes(), _all_of(tmp_path, path.name)
    refused = 0
    for place in range(0, len(data), 5):
        harmed = bytearray(data)
        harmed[place] ^= 1 << place % 8
        path.write_bytes(harmed)
        try:
            assert _all_of(tmp_path, path.name) == told
        except BadFile:
            refused += 1
    assert refused > len(data) / 10


def _all_of(root: Path, name: str) -> dict[str, bytes | None]:
    bundles = Bundles(root, [name])
    return {
        path: bytes(bundles.content(path)) if place.state == "file" else None
        for path, place in bundles.places.items()
    }


def test_a_folder_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no such folder"):
        compact.compact(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
