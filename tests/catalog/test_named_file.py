"""What a user names is read where it is a regular file of a bearable size, else refused at once."""

import os
import socket
from pathlib import Path

import pytest

from catalog.errors import BadFile
from catalog.named_file import check_named, open_named, read_named, text_named


def test_a_file_is_read_whole_up_to_its_bound_and_through_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"12345")
    link.symlink_to(path)
    assert read_named(link, most_bytes=5) == b"12345"
    assert check_named(link) == link
    with pytest.raises(BadFile, match="file: has more than the 4 bytes"):
        read_named(path, most_bytes=4)


def test_text_has_the_line_ends_that_python_reads_and_no_mark_of_its_coding(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for data in (b"a\nb\n", b"a\r\nb\r\n", b"a\rb\r", b"\xef\xbb\xbfa\nb\n"):
        path.write_bytes(data)
        assert text_named(path, encoding="utf-8-sig") == path.read_text(encoding="utf-8-sig")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadFile, match="text: cannot be read as text"):
        text_named(path)


def test_what_is_no_regular_file_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    refused = {
        "pipe": "is a pipe, not a regular file, so no log",
        "/dev/zero": "is a device",
        ".": "is a folder",
        "none": "no such log",
        "none/none": "no such log",
        "socket": "cannot be read",
        "a\0b": "cannot be read",
    }
    before = len([*Path("/proc/self/fd").iterdir()])
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name, told in refused.items():
            with pytest.raises(BadFile, match=told):
                open_named(Path(name), "log")
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_a_pipe_that_was_handed_over_open_is_read_whole_and_one_by_its_name_is_not(
    tmp_path: Path,
) -> None:
    out, into = os.pipe()
    os.write(into, b"12345")
    os.close(into)
    given = Path(f"/dev/fd/{out}")
    with pytest.raises(BadFile, match="is a pipe"):
        open_named(given)
    with pytest.raises(BadFile, match="more than the 4 bytes"):
        read_named(given, most_bytes=4)
    os.close(out)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(BadFile, match="is a pipe"):
        read_named(tmp_path / "pipe")
