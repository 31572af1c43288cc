import asyncio
import sys
from pathlib import Path

import pytest

from orchestrator.host import logs
from orchestrator.host.logs import bound_log
from orchestrator.host.process import ServerProcess

FLOOD = """
import sys
print("the first line", flush=True)
for number in range(20_000):
    print("noise", number, flush=number % 100 == 0)
print("the last line", flush=True)
"""


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOST_BYTES", 20_000), ("HEAD_BYTES", 1000), ("TAIL_BYTES", 1000)):
        monkeypatch.setattr(logs, name, value)
    monkeypatch.setattr(logs, "LOOK_S", 0.02)


def test_a_log_within_its_limit_is_left_alone(small: None, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * 20_000)
    assert bound_log(log) == 0
    assert log.read_bytes() == b"x" * 20_000


def test_a_log_beyond_it_keeps_head_and_tail_and_says_what_is_missing(
    small: None, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"a" * 1000 + b"m" * 18_001 + b"z" * 1000)
    assert bound_log(log) == 18_001
    middle = b"\n[moeserve: 18001 bytes left out]\n"
    assert log.read_bytes() == b"a" * 1000 + middle + b"z" * 1000


def test_a_link_is_not_cut(small: None, tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"x" * 30_000)
    (tmp_path / "log").symlink_to(tmp_path / "victim")
    assert bound_log(tmp_path / "log") == 0
    assert (tmp_path / "victim").stat().st_size == 30_000
    assert bound_log(tmp_path / "missing") == 0


async def test_a_server_that_floods_its_log_does_not_fill_the_disk(
    small: None, tmp_path: Path
) -> None:
    server = ServerProcess([sys.executable, "-c", FLOOD], log=tmp_path / "log", env={}, grace_s=0.5)
    while server.exit_code is None:
        await asyncio.sleep(0.02)
    await server.stop()
    text = (tmp_path / "log").read_text()
    assert len(text) <= 20_000
    assert text.startswith("the first line")
    assert text.endswith("the last line\n")
    assert "bytes left out" in text
