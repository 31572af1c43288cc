"""A log of any length becomes a text of bounded size that still tells what it told."""

import io
import re

import pytest

from orchestrator.engines.vllm.readback import observed
from orchestrator.measure import log_file
from orchestrator.measure.failures import diagnose
from orchestrator.measure.log_file import read_log
from orchestrator.measure.server_log import MOST_LINES, stage, telling_lines, unwrapped
from tests import server_logs

ROWS = server_logs.table("ok") + server_logs.table("fail")
ALL_DAY = (
    '(APIServer pid=7) INFO:     10.0.0.1:51432 - "POST /v1/completions HTTP/1.1" 200 OK\n'
    "(APIServer pid=7) INFO 11-30 06:31:00 [loggers.py:123] Engine 000: Avg prompt throughput: 12\n"
)


def whole(text: str) -> str:
    return read_log(io.BytesIO(text.encode()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["file"])
def test_a_log_that_is_short_stays_as_it_is(row: dict[str, str]) -> None:
    text = server_logs.text(row)
    assert diagnose(whole(text)) == diagnose(text)
    assert observed(whole(text)) == observed(text)
    assert stage(whole(text)) == stage(text)


def test_what_a_server_says_all_day_is_kept_once() -> None:
    healthy = server_logs.text(next(r for r in ROWS if r["file"] == "ok/v1700_ascend_tp2_ep.log"))
    long = whole(healthy + ALL_DAY * 5000 + "the end\n")
    assert len(long) < len(healthy) + 1000
    assert long.count("200 OK") == 1
    assert long.endswith("the end\n")
    assert observed(long) == observed(healthy)


def test_of_a_long_log_the_begin_and_the_end_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("HEAD_READ", 4000), ("TAIL_READ", 6000), ("BLOCK", 512)):
        monkeypatch.setattr(log_file, name, size)
    monkeypatch.setattr(log_file, "HEAD_KEPT", 1000)
    monkeypatch.setattr(log_file, "TAIL_KEPT", 2000)
    lines = [f"line {number}" for number in range(5000)]
    kept = whole("\n".join(lines)).split("\n")
    gap = kept.index("")
    assert kept[:gap] == lines[:gap]
    assert kept[gap + 1 :] == lines[gap + 1 - len(kept) :]
    assert 2500 < sum(map(len, kept)) < 3000


@pytest.mark.parametrize("separator", ["", "\r"])
def test_a_line_without_an_end_keeps_its_begin_and_its_end(
    separator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "BLOCK", 50_000)
    kept = whole("begin" + f"{separator}25% done" * 60_000 + "RuntimeError: the end")
    assert len(kept) < 2 * log_file.LONGEST_LINE
    assert kept.startswith("begin")
    assert kept.endswith("RuntimeError: the end")


def test_lines_that_are_broken_are_joined_in_one_pass() -> None:
    assert unwrapped("a\n b\n(c\nd\n\ne") == "a b\n(cd\ne"
    broken = "begin" + "\nprogress" * 50_000
    assert len(unwrapped(broken)) == len(broken) - 50_000


def test_one_error_again_and_again_is_one_line_and_a_long_one_is_shortened() -> None:
    no = re.compile("(?!)")
    told = telling_lines("ERROR: x\n" * 9 + "y" * 10**5, always=no, never=no)
    assert [len(line.text) for line in told] == [1, 4000]
    many = "\n".join(f"ERROR: {number}" for number in range(2 * MOST_LINES))
    assert len(telling_lines(many, always=no, never=no)) == MOST_LINES * 5 // 4
