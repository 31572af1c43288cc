from pathlib import Path

import pytest

from catalog.errors import BadFile
from orchestrator.host.ports import FIRST_PORT, LAST_PORT, RANGE, port_range


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    folder = tmp_path / "moeserve-ports"
    folder.mkdir(mode=0o700)
    return folder


def test_two_servers_are_given_ranges_apart(folder: Path) -> None:
    with port_range() as one, port_range() as two:
        assert not set(one) & set(two)
    assert len(list(folder.iterdir())) >= 2


def test_a_lock_that_links_to_a_file_of_ours_leaves_it_as_it_is(
    folder: Path, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("years of work")
    for first in range(FIRST_PORT, LAST_PORT, RANGE):
        (folder / str(first)).symlink_to(victim)
    with pytest.raises(BadFile), port_range():
        pass
    assert victim.read_text() == "years of work"
