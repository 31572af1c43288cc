"""What reaches the disk when: rows every thousand, new names with their folder."""

import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog.errors import BadFile
from orchestrator.host import files
from orchestrator.results.rows import (
    SCHEMA,
    RowLog,
    read_log,
    read_parquet,
    rows_of,
    transcript_of,
    write_parquet,
)
from workloads.transcript import RequestRow, Transcript


def row(number: int) -> RequestRow:
    return RequestRow(
        request=number, due_s=0.5, sent_s=0.75, first_token_s=1.0, done_s=2.0, input_tokens=3,
        server_input_tokens=4, output_tokens=2, status="failed", error_class="TIMEOUT",
        error="late", token_times_s=np.array([1.0, 1.5]), reads=5, events=6, multi_token_events=7,
        finish_reason="length", reconnects=8, cached_tokens=9,
        token_events=10, token_reads=11, clumped_events=12, answered_by="m", notes="NO_DONE",
        input_len=3, output_len=2, natural=True, part="chat", session=4, turn=1,
    )  # fmt: skip


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was flushed, and what else was done, in this order."""
    done: list[str] = []

    def name(descriptor: int) -> str:
        return Path(f"/proc/self/fd/{descriptor}").readlink().name

    for call in ("fsync", "fdatasync"):
        real = getattr(os, call)
        monkeypatch.setattr(os, call, lambda fd, real=real: (done.append(name(fd)), real(fd)))
    real_link, real_replace = os.link, Path.replace
    monkeypatch.setattr(os, "link", lambda a, b: (done.append("link"), real_link(a, b)))
    monkeypatch.setattr(Path, "replace", lambda a, b: (done.append("rename"), real_replace(a, b)))
    return done


def test_a_log_is_flushed_after_each_thousand_rows(tmp_path: Path, synced: list[str]) -> None:
    log = RowLog(tmp_path / "rows.jsonl")
    for number in range(999):
        log.append(row(number))
    assert synced == []
    log.append(row(999))
    assert synced == ["rows.jsonl"]
    for number in range(1999):
        log.append(row(number))
    assert synced == ["rows.jsonl"] * 2
    log.close()
    log.close()  # once more is no fault, and closes no file of somebody else's


def test_a_closed_log_closes_nothing_that_was_opened_since(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "a")
    log.close()
    with (tmp_path / "b").open("wb") as other:
        log.close()
        other.write(b"still open")
    assert (tmp_path / "b").read_bytes() == b"still open"


def test_a_name_is_on_disk_when_its_folder_is_and_never_before_its_content(
    tmp_path: Path, synced: list[str]
) -> None:
    files.write_durably(tmp_path / "x", b"1")
    assert [synced[0].startswith(".x."), *synced[1:]] == [True, "rename", tmp_path.name]
    synced.clear()
    assert files.publish_once(tmp_path / "y", b"2")
    assert [synced[0].startswith(".y."), *synced[1:]] == [True, "link", tmp_path.name]
    assert not files.publish_once(tmp_path / "y", b"3")
    assert (tmp_path / "y").read_bytes() == b"2"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x", "y"]


def test_a_new_file_is_new_and_readable_by_all(tmp_path: Path) -> None:
    files.write_new(tmp_path / "x", b"1")
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644 & ~_umask()
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "x", b"2")
    assert (tmp_path / "x").read_bytes() == b"1"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_file_system_that_cannot_sync_a_folder_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    files.sync_folder(tmp_path)


def test_every_column_of_a_request_comes_back_by_its_name(tmp_path: Path) -> None:
    write_parquet(tmp_path / "r.parquet", "a-r0", [row(9)])
    (stored,) = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert stored == {
        "run_id": "a-r0", "request": 9, "due_s": 0.5, "sent_s": 0.75, "first_token_s": 1.0,
        "done_s": 2.0, "input_tokens": 3, "output_tokens": 2, "status": "failed",
        "error_class": "TIMEOUT", "error": "late", "finish_reason": "length", "reads": 5,
        "events": 6, "multi_token_events": 7, "reconnects": 8, "server_input_tokens": 4,
        "token_times_s": [1.0, 1.5], "cached_tokens": 9, "token_events": 10, "token_reads": 11,
        "clumped_events": 12, "answered_by": "m", "notes": "NO_DONE", "input_len": 3,
        "output_len": 2, "natural": True, "part": "chat", "session": 4, "turn": 1,
    }  # fmt: skip
    (back,) = rows_of(tmp_path / "r.parquet")
    assert back.token_times_s.tolist() == [1.0, 1.5]
    assert (back.reads, back.reconnects, back.server_input_tokens) == (5, 8, 4)
    assert pq.read_schema(tmp_path / "r.parquet").metadata[b"moeserve_schema"] == b"1"


def test_only_the_columns_asked_for_are_read_and_none_is_an_empty_table(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_parquet(tmp_path / name, name, [row(1), row(2)])
    both = read_parquet([tmp_path / "a", tmp_path / "b"], ["request", "run_id", "unheard_of"])
    assert both.to_pydict() == {"request": [1, 2, 1, 2], "run_id": ["a", "a", "b", "b"]}
    assert read_parquet([]).schema.names == SCHEMA.names
    write_parquet(tmp_path / "none", "c", [])
    assert rows_of(tmp_path / "none") == []


def some_rows() -> list[RequestRow]:
    lost = RequestRow(request=7, due_s=3.0, done_s=4.0, status="failed", error_class="CONNECT")
    return [row(0), lost, RequestRow(request=8, due_s=5.0, output_tokens=1, part="b"), row(1)]


def test_the_columns_of_a_file_are_those_of_its_rows(tmp_path: Path) -> None:
    for name, rows in {"some": some_rows(), "none": []}.items():
        write_parquet(tmp_path / name, "a-r0", rows)
        found, wanted = transcript_of(tmp_path / name), Transcript.of(rows)
        for each in fields(Transcript):
            one, other = getattr(found, each.name), getattr(wanted, each.name)
            np.testing.assert_array_equal(one, other, err_msg=each.name)
            assert one.dtype == other.dtype


def test_columns_that_an_earlier_version_did_not_write_say_what_its_rows_did(
    tmp_path: Path,
) -> None:
    write_parquet(tmp_path / "new", "a-r0", some_rows())
    pq.write_table(pq.read_table(tmp_path / "new").drop_columns(["part"]), tmp_path / "old")
    assert transcript_of(tmp_path / "old").part.tolist() == [
        each.part for each in rows_of(tmp_path / "old")
    ]


@pytest.mark.parametrize("name", ["token_times_s", "output_tokens"])
def test_a_request_without_its_tokens_is_no_row_of_figures(tmp_path: Path, name: str) -> None:
    write_parquet(tmp_path / "r", "a-r0", some_rows())
    table = pq.read_table(tmp_path / "r")
    place = table.column_names.index(name)
    empty = pa.nulls(len(table), table.schema.field(name).type)
    pq.write_table(table.set_column(place, name, empty), tmp_path / "holes")
    with pytest.raises(TypeError, match="without its tokens"):
        transcript_of(tmp_path / "holes")


@pytest.mark.parametrize("name", ["request", "due_s", "token_times_s", "output_tokens"])
def test_a_file_without_a_column_of_every_version_is_no_request_file(
    tmp_path: Path, name: str
) -> None:
    write_parquet(tmp_path / "r", "a-r0", some_rows())
    pq.write_table(pq.read_table(tmp_path / "r").drop_columns([name]), tmp_path / "less")
    with pytest.raises(LookupError, match=name):
        transcript_of(tmp_path / "less")


def test_a_text_that_is_none_is_told_in_whichever_column_it_stands(tmp_path: Path) -> None:
    write_parquet(tmp_path / "r", "a-r0", [row(0)])
    table = pq.read_table(tmp_path / "r")
    place = table.column_names.index("error")
    offsets = pa.py_buffer(np.array([0, 2], np.int32))
    torn = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    pq.write_table(table.set_column(place, "error", torn), tmp_path / "torn")
    with pytest.raises(ValueError, match="UTF8"):
        transcript_of(tmp_path / "torn")


def test_a_small_file_of_very_many_equal_values_is_no_request_file(tmp_path: Path) -> None:
    table = pa.table({"request": np.zeros(3_000_000, np.int32)})
    pq.write_table(table, tmp_path / "bomb", compression="zstd")
    with pytest.raises(BadFile, match="holds 3000000 rows in"):
        rows_of(tmp_path / "bomb")


def test_token_times_alone_are_compressed_and_texts_alone_have_a_dictionary(
    tmp_path: Path,
) -> None:
    write_parquet(tmp_path / "r", "a-r0", [row(number) for number in range(50)])
    with pq.ParquetFile(tmp_path / "r") as file:
        group = file.metadata.row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
    packed = {each.path_in_schema for each in columns if each.compression != "UNCOMPRESSED"}
    listed = {each.path_in_schema for each in columns if each.has_dictionary_page}
    assert packed == {"token_times_s.list.element"}
    assert listed == {
        "run_id", "status", "error_class", "error", "finish_reason", "answered_by", "notes", "part",
    }  # fmt: skip


def test_a_log_s_row_keeps_every_field(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "rows")
    log.append(row(4))
    log.close()
    (back,) = read_log(tmp_path / "rows")
    assert back.token_times_s.tolist() == [1.0, 1.5]
    assert (back.request, back.status, back.error, back.coalesced_reads) == (4, "failed", "late", 0)
