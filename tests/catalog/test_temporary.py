"""A temporary folder is gone with its process, wherever in its life that was killed."""

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from catalog.inside import lock_file
from catalog.temporary import LOCK, sweep, temporary_folder

KIND = "kind-"
AT_EACH_STEP = f"""
import os, signal, sys
from pathlib import Path
from catalog.inside import lock_file
from catalog.temporary import sweep, temporary_folder

parent = Path(sys.argv[1])
STEPS = {{"os.mkdir", "open", "fcntl.flock", "os.remove", "os.rmdir", "os.scandir"}}


def live(step, act):
    seen = 0

    def hook(event, args):
        nonlocal seen
        if event in STEPS:
            seen += 1
            if seen == step + 1:
                act()

    sys.addaudithook(hook)
    with temporary_folder(parent, "{KIND}") as folder:
        (folder / "weights").write_bytes(b"0")
        assert (folder / "weights").read_bytes() == b"0"
        sweep(parent, "{KIND}")
        assert (folder / "weights").exists()
    assert not folder.exists()
    os._exit(0 if seen > step else 7)


def ending(step, act):
    child = os.fork()
    if not child:
        try:
            live(step, act)
        except BaseException as error:
            print(step, repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


die = lambda: os.kill(os.getpid(), signal.SIGKILL)
meet = lambda: sweep(parent, "{KIND}")
act, expected = {{"die": (die, -signal.SIGKILL), "meet": (meet, 0)}}[sys.argv[2]]
step = 0
while (ended := ending(step, act)) != 7:
    assert ended == expected, (step, ended)
    print(step, *(each.name for each in parent.iterdir()))
    sweep(parent, "{KIND}")
    assert not list(parent.iterdir()), step
    step += 1
"""


def at_each_step(act: str, parent: Path) -> list[list[str]]:
    """Act before each system call of a folder's life; return what was left each time."""
    done = subprocess.run(
        [sys.executable, "-c", AT_EACH_STEP, str(parent), act],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [line.split()[1:] for line in done.stdout.splitlines()]


def test_whatever_a_process_was_killed_at_the_next_sweeps_what_it_left(tmp_path: Path) -> None:
    left = at_each_step("die", tmp_path)
    assert len(left) > 8
    assert sum(map(len, left)) > 5, "most steps leave a folder"


def test_one_who_sweeps_at_any_moment_takes_no_folder_from_its_process(tmp_path: Path) -> None:
    left = at_each_step("meet", tmp_path)
    assert len(left) > 8
    assert not any(left)


def test_folders_of_others_links_and_other_names_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, other = tmp_path / "target", tmp_path / "else"
    for folder in (target, other):
        folder.mkdir()
        (folder / "file").touch()
    (tmp_path / f"{KIND}link").symlink_to(target)
    (tmp_path / f"{KIND}file").touch()
    before = {each.name for each in tmp_path.iterdir()}
    with temporary_folder(tmp_path, KIND) as mine:
        assert mine.stat().st_mode & 0o077 == 0
    assert {each.name for each in tmp_path.iterdir()} == before
    assert (target / "file").exists()
    stranger = tmp_path / f"{KIND}stranger"
    stranger.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    sweep(tmp_path, KIND)
    assert stranger.exists()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / f"{KIND}a").mkdir()
    (tmp_path / f"{KIND}a" / LOCK).symlink_to(tmp_path / "victim")
    sweep(tmp_path, KIND)
    assert not (tmp_path / "victim").exists()


def test_a_folder_that_is_being_swept_before_its_maker_locked_it_is_left_to_the_sweeper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp
    taken: list[Path] = []

    def taken_at_once(*, prefix: str, dir: Path) -> str:
        folder = make(prefix=prefix, dir=dir)
        if not taken:
            taken.append(Path(folder))
            lock = stack.enter_context(lock_file(Path(folder) / LOCK))
            fcntl.flock(lock, fcntl.LOCK_EX)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", taken_at_once)
    with contextlib.ExitStack() as stack, temporary_folder(tmp_path, KIND) as mine:
        assert taken != [mine]
    assert list(tmp_path.iterdir()) == taken
