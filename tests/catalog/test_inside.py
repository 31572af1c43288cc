"""Nothing outside of a folder is read, nothing is written or emptied through a link."""

import os
import socket
import stat
from pathlib import Path

import pytest

from catalog.errors import BadFile, BadValue
from catalog.inside import (
    SMALL_BYTES,
    check_own,
    lock_file,
    own_folder,
    private_folder,
    read_each,
    read_inside,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / "file").write_bytes(b"mine")
    (tmp_path / "victim").write_bytes(b"secret")
    return tmp_path / "root"


def test_a_file_inside_is_read_also_where_the_folder_itself_is_reached_by_a_link(
    root: Path, tmp_path: Path
) -> None:
    assert read_inside(root, "a/file") == b"mine"
    (tmp_path / "way").symlink_to(root)
    assert read_inside(tmp_path / "way", "a/file") == b"mine"
    with pytest.raises(FileNotFoundError):
        read_inside(root, "a/missing")


@pytest.mark.parametrize(
    "name", ["../victim", "a/../../victim", "/etc/hostname", "", ".", "a/..", "x\0y"]
)
def test_a_name_that_leads_outside_is_refused(root: Path, name: str) -> None:
    with pytest.raises(BadFile):
        read_inside(root, name)


def test_a_link_is_not_followed_wherever_it_stands(root: Path, tmp_path: Path) -> None:
    (root / "out").symlink_to(tmp_path / "victim")
    (root / "b").symlink_to(tmp_path)
    (root / "inner").symlink_to("a/file")
    for name in ("out", "b/victim", "inner"):
        with pytest.raises(BadFile, match="link"):
            read_inside(root, name)


def test_files_of_one_folder_are_read_together_as_each_alone(root: Path, tmp_path: Path) -> None:
    large = bytes(range(256)) * (SMALL_BYTES // 128)
    (root / "a" / "large").write_bytes(large)
    assert list(read_each(root, "a", ["large", "missing", "file"])) == [large, None, b"mine"]
    assert list(read_each(root, "nowhere", ["file", "large"])) == [None, None]
    with pytest.raises(BadFile, match="a/large: has more than the 1000 bytes"):
        list(read_each(root, "a", ["file", "large"], most_bytes=1000))
    with pytest.raises(BadFile, match="outside"):
        list(read_each(root, "a", ["file\0"]))
    (root / "a" / "link").symlink_to(tmp_path / "victim")
    (root / "b").symlink_to(root / "a")
    for folder, name in (("a", "link"), ("b", "file"), ("a", "fifo")):
        if name == "fifo":
            os.mkfifo(root / folder / name)
        with pytest.raises(BadFile, match=r"link|regular"):
            list(read_each(root, folder, [name]))


def test_a_file_may_have_as_many_bytes_as_are_allowed_and_not_one_more(root: Path) -> None:
    for size in (SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1):
        (root / "a" / "file").write_bytes(b"x" * size)
        assert len(read_inside(root, "a/file", most_bytes=size)) == size
        with pytest.raises(BadFile, match="has more than"):
            read_inside(root, "a/file", most_bytes=size - 1)


def test_what_is_no_regular_file_is_refused_at_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(root / "fifo")
    monkeypatch.chdir(root)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name in ("fifo", "socket", "a"):
            with pytest.raises(BadFile):
                read_inside(root, name)


def test_a_file_beyond_its_limit_is_refused_and_one_of_it_is_read(root: Path) -> None:
    assert read_inside(root, "a/file", most_bytes=4) == b"mine"
    with pytest.raises(BadFile, match="more than the 3 bytes"):
        read_inside(root, "a/file", most_bytes=3)
    with (root / "sparse").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(BadFile):
        read_inside(root, "sparse", most_bytes=1000)


def test_a_lock_keeps_what_is_in_its_file_and_follows_no_link(root: Path, tmp_path: Path) -> None:
    with lock_file(root / "a" / "file"):
        pass
    assert (root / "a" / "file").read_bytes() == b"mine"
    (root / ".lock").symlink_to(tmp_path / "victim")
    (root / "dangling").symlink_to(tmp_path / "made")
    os.mkfifo(root / "fifo")
    for name in (".lock", "dangling", "fifo", "a"):
        with pytest.raises(BadFile, match="lock"), lock_file(root / name):
            pass
    assert (tmp_path / "victim").read_bytes() == b"secret"
    assert not (tmp_path / "made").exists()


def test_a_folder_that_is_a_link_is_not_written_into(root: Path, tmp_path: Path) -> None:
    assert own_folder(root, "a", "b") == root / "a" / "b"
    (tmp_path / "elsewhere").mkdir()
    (root / "runs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadFile, match="link"):
        own_folder(root, "runs", "x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_private_folder_is_made_for_this_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = private_folder("ports")
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.lstat().st_mode) == 0o700
    assert private_folder("ports") == folder


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of a host without runtime directories."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("catalog.inside.tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("catalog.inside.os.getuid", lambda: tmp_path.stat().st_uid)
    real = Path.lstat
    absent = lambda self: _missing() if str(self).startswith("/run/user") else real(self)  # noqa: E731
    monkeypatch.setattr(Path, "lstat", absent)
    return tmp_path


def _missing() -> os.stat_result:
    raise FileNotFoundError


def test_a_name_that_somebody_took_first_is_refused_with_the_way_out(shared: Path) -> None:
    expected = private_folder("ports")
    expected.rmdir()
    theirs = shared / "theirs"
    theirs.mkdir(mode=0o700)
    expected.symlink_to(theirs)
    with pytest.raises(BadValue, match="XDG_RUNTIME_DIR"):
        private_folder("ports")
    expected.unlink()
    expected.mkdir()
    expected.chmod(0o777)
    with pytest.raises(BadValue, match="XDG_RUNTIME_DIR"):
        private_folder("ports")
    expected.rmdir()
    expected.write_text("")
    with pytest.raises(BadValue, match="XDG_RUNTIME_DIR"):
        private_folder("ports")


def test_a_folder_of_another_user_is_refused(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = os.getuid()
    folder = shared / f"moeserve-ports-{user + 1}"
    folder.mkdir(mode=0o700)
    monkeypatch.setattr("catalog.inside.os.getuid", lambda: user + 1)
    with pytest.raises(BadValue, match="somebody else"):
        private_folder("ports")


def test_files_that_others_could_have_written_are_not_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    folder.mkdir(mode=0o755)
    assert check_own(folder) == folder
    folder.chmod(0o777)
    with pytest.raises(BadFile, match="made again"):
        check_own(folder)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(BadFile):
        check_own(tmp_path / "link")
