"""The store: nothing half-written, nothing twice, nothing lost, and damage is found."""

import os
import threading
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.errors import BadFile, BadValue, ChangedExperiment, ResultsError
from orchestrator.experiment.experiment import Experiment
from orchestrator.host import files
from orchestrator.results.manifests import Manifest, read_manifests
from orchestrator.results.record import RunRecord
from orchestrator.results.rows import RowLog, read_log, rows_of, write_parquet
from orchestrator.results.store import Store, fresh_directory
from workloads.transcript import RequestRow

TIMES = np.array([0.5, 0.75, 1.0])


def record(run_id: str = "a-r0", **changes: object) -> RunRecord:
    base = RunRecord(
        run_id=run_id,
        cell_id="a",
        replicate=0,
        attempt=1,
        block=0,
        started_at="2026-01-01T00:00:00+00:00",
        verdict="valid",
        verdict_reasons="",
        engine="simulated",
        provenance="simulated",
        model="m",
        strategy="tp",
        tp=2,
        dp=1,
        pp=1,
        ep=False,
        num_gpus=2,
        gpu_type="A100-80GB",
        technique="none",
        workload="1:3:1",
        input_len=1,
        output_len=3,
        num_prompts=1,
        max_concurrency=1,
    )
    return msgspec.structs.replace(base, **changes)


def row(request: int = 0) -> RequestRow:
    return RequestRow(
        request=request,
        due_s=0.0,
        sent_s=0.1,
        first_token_s=0.5,
        done_s=1.0,
        input_tokens=1,
        output_tokens=3,
        token_times_s=TIMES,
    )


def test_rows_come_back_from_the_log_and_the_table_as_they_were(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "rows.jsonl")
    for number in range(5):
        log.append(row(number))
    log.close()
    write_parquet(tmp_path / "rows.parquet", "a-r0", [row(number) for number in range(5)])
    for rows in (list(read_log(tmp_path / "rows.jsonl")), rows_of(tmp_path / "rows.parquet")):
        assert [each.request for each in rows] == list(range(5))
        assert all(np.array_equal(each.token_times_s, TIMES) for each in rows)
        assert msgspec.to_builtins(rows[0].sent_s) == 0.1


@settings(max_examples=60)
@given(cut=st.integers(0, 2000), flip=st.integers(0, 2000))
def test_a_torn_or_damaged_log_gives_every_row_before_the_damage(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "rows.jsonl"
    log = RowLog(path)
    for number in range(6):
        log.append(row(number))
    log.close()
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    torn = bytearray(whole[: cut % (len(whole) + 1)])
    place = flip % (len(torn) + 1)
    if place < len(torn):
        torn[place] ^= 1
    path.write_bytes(torn)
    intact = sum(end <= min(place, len(torn)) for end in ends)
    assert [each.request for each in read_log(path)][:intact] == list(range(intact))
    assert len(list(read_log(path))) <= sum(end <= len(torn) for end in ends)


def test_a_missing_value_stays_missing_in_the_request_table(tmp_path: Path) -> None:
    lost = RequestRow(request=0, due_s=0.0, status="failed", error_class="CONNECT")
    write_parquet(tmp_path / "rows.parquet", "a-r0", [lost])
    (back,) = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert back["sent_s"] is None
    assert back["token_times_s"] == []


def test_of_two_who_publish_one_run_the_first_wins_and_the_other_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create(Experiment())
    won: list[bool] = []

    def publish(attempt: int) -> None:
        won.append(store.publish(Manifest(record=record(attempt=attempt))))

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert store.finished() == {"a-r0"}
    assert len(read_manifests(tmp_path)) == 1
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_link_that_reports_failure_though_it_was_made_counts_as_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link(source: Path, target: Path) -> None:
        real(source, target)
        raise FileExistsError(target)

    monkeypatch.setattr(os, "link", link)
    assert files.publish_once(tmp_path / "x", b"data")
    assert (tmp_path / "x").read_bytes() == b"data"


def test_a_disk_that_takes_a_part_of_each_write_still_gets_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:7])))
    files.write_durably(tmp_path / "x", b"0123456789" * 10)
    assert (tmp_path / "x").read_bytes() == b"0123456789" * 10


@pytest.mark.parametrize("failing", ["write", "fsync", "link"])
def test_a_failed_write_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    (tmp_path / "x").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space"):
        if failing == "link":
            files.publish_once(tmp_path / "y", b"new")
        else:
            files.write_durably(tmp_path / "x", b"new")
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x": b"old"}


def test_another_experiment_is_refused_with_the_difference_and_nothing_is_touched(
    tmp_path: Path,
) -> None:
    store = Store(tmp_path)
    store.create(Experiment())
    before = (tmp_path / "experiment.json").read_bytes()
    with pytest.raises(ChangedExperiment, match="seed was 0, now 1"):
        store.create(Experiment(seed=1))
    assert (tmp_path / "experiment.json").read_bytes() == before


def test_more_replicates_of_the_same_study_are_no_other_study_but_fewer_are(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create(Experiment(num_runs=2))
    store.create(Experiment(num_runs=5))
    with pytest.raises(ChangedExperiment, match="num_runs was 5, now 2"):
        store.create(Experiment(num_runs=2))


def test_how_a_server_is_reached_may_change_between_sessions(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create(Experiment(api_key_file="old"))
    before = (tmp_path / "experiment.json").read_bytes()
    store.create(Experiment(api_key_file="new"))
    assert (tmp_path / "experiment.json").read_bytes() == before


def test_starting_over_moves_the_old_results_aside(tmp_path: Path) -> None:
    root = tmp_path / "out"
    Store(root).create(Experiment())
    assert fresh_directory(root) == tmp_path / "out.old1"
    Store(root).create(Experiment(seed=1))
    assert fresh_directory(root) == tmp_path / "out.old2"
    assert fresh_directory(root) is None


def test_a_second_run_in_the_same_directory_at_once_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create(Experiment())
    with store.locked(), pytest.raises(BadValue, match="one run at a time"), store.locked():
        pass


def test_a_failed_attempt_is_shown_until_a_later_one_succeeds(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create(Experiment())
    for attempt in (1, 2):
        failed = record(attempt=attempt, verdict="failed", error=f"ENGINE_DEAD: {attempt}")
        store.record_failure(Manifest(record=failed))
    (shown,) = read_manifests(tmp_path)
    assert shown.record.error == "ENGINE_DEAD: 2"
    store.publish(Manifest(record=record(attempt=3)))
    (shown,) = read_manifests(tmp_path)
    assert shown.record.verdict == "valid"


def test_attempts_are_numbered_on_and_never_share_a_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create(Experiment())
    folders = [store.new_attempt("a-r0") for _ in range(3)]
    assert [number for number, _ in folders] == [1, 2, 3]
    assert len({path for _, path in folders}) == 3


def test_damage_and_a_newer_schema_are_said_with_the_file(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create(Experiment())
    store.publish(Manifest(record=record()))
    path = tmp_path / "runs" / "a-r0.json"
    good = path.read_bytes()
    path.write_bytes(good[:-10])
    with pytest.raises(ResultsError, match=r"a-r0.json: is damaged"):
        read_manifests(tmp_path)
    path.write_bytes(good.replace(b'"schema":1', b'"schema":99'))
    with pytest.raises(ResultsError, match="schema 99 is newer"):
        read_manifests(tmp_path)
    path.write_bytes(good.replace(b'"schema":1', b'"schema":99,"of_then":1'))
    with pytest.raises(ResultsError, match="schema 99 is newer"):
        read_manifests(tmp_path)


def test_a_folder_that_is_no_results_directory_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="not a results directory"):
        read_manifests(tmp_path)
