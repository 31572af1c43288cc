"""Reads on disk are the reads that were in memory, and without a disk they stay there."""

import tempfile
from typing import Any

import pytest

from workloads.protocol.exchange import Exchange
from workloads.transport import replay as replay_module
from workloads.transport import spill as module
from workloads.transport.replay import Replay
from workloads.transport.spill import KEPT, Spill
from workloads.transport.trace import ReadTrace

ANSWERS, PIECE = 40, 37


def traced(wire: Any) -> tuple[ReadTrace, list[Exchange]]:
    """A trace of many short segments, its answers cut at odd places."""
    trace, exchanges, answer = ReadTrace(), [], wire.answer(wire.stream(3))
    for number in range(ANSWERS):
        one = Exchange(number, 0.0, 3)
        one.fd, one.sent, one.done = 5 + number % 3, 0.0, 9.0
        exchanges.append(one)
        trace.mark_begin(one)
        for at in range(0, len(answer), PIECE):
            trace.current.add(one.fd, answer[at : at + PIECE], number + at / 1e6)
            if at % 5 == 0:
                trace.seal()
        trace.mark_end(one)
    trace.seal()
    return trace, exchanges


def rows(trace: ReadTrace) -> list[Any]:
    finished: list[Exchange] = []
    replay = Replay(trace, finished=finished.append, doomed=lambda _: None)
    while replay.replay_for(1.0):
        pass
    found = [one.row(0.0, 4) for one in finished]
    return [(row.request, row.status, row.reads, row.token_times_s.tolist()) for row in found]


def spilled(trace: ReadTrace, steps: int) -> Spill:
    spill = Spill(trace)
    for _ in range(steps):
        spill.step()
    return spill


@pytest.mark.slow
@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_rows_are_the_same_from_disk_as_from_memory(
    wire: Any, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    trace, _ = traced(wire)
    before = trace.held_bytes
    spilled(trace, 10_000)
    assert trace.held_bytes < before / 4
    assert trace.held_bytes + trace.spilled_bytes == before
    on_disk = [segment.spilled is not None for segment in trace.sealed if len(segment)]
    assert on_disk == [False] * KEPT + [True] * (len(on_disk) - KEPT)
    assert rows(trace) == rows(traced(wire)[0])
    assert (trace.held_bytes, trace.spilled_bytes) == (0, 0)


def test_an_answer_is_withdrawn_from_disk_as_from_memory(wire: Any) -> None:
    trace, exchanges = traced(wire)
    spill = Spill(trace)
    for step, one in enumerate(exchanges[::-1][:6]):
        for _ in range(step * 7):
            spill.step()
        trace.withdraw(one)
    for _ in range(1000):
        spill.step()
    assert rows(trace) == rows(traced(wire)[0])
    assert (trace.held_bytes, trace.spilled_bytes) == (0, 0)


def test_what_cannot_be_written_stays_in_memory(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    trace, _ = traced(wire)
    before = trace.held_bytes
    written = []

    def fills(file: int, data: bytes) -> None:
        written.append(data)
        if len(written) > 2:
            full()

    monkeypatch.setattr(module, "_write", fills)
    spill = spilled(trace, 100)
    assert spill.broken
    assert trace.held_bytes + trace.spilled_bytes == before
    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    other, _ = traced(wire)
    assert spilled(other, 100).broken
    assert rows(other) == rows(traced(wire)[0])
    spill.close()
    for segment in trace.sealed:
        segment.close()


def test_answers_under_way_hold_few_reads_however_many_they_are(
    wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_module, "TAKEN_BUDGET_BYTES", 200_000)
    trace, exchanges = ReadTrace(), []
    many, reads = 40, 60
    for number in range(many):
        one = Exchange(number, 0.0, 10 * reads)
        one.fd = 5 + number
        exchanges.append(one)
        trace.mark_begin(one)
        trace.current.add(one.fd, wire.HEAD, 0.0)
    frame = wire.chunk(b'data: {"choices":[{"text":"x"}],"pad":"' + 500 * b"y" + b'"}\n\n')
    for stamp in range(reads):
        for one in exchanges:
            trace.current.add(one.fd, frame, float(stamp))
        trace.seal()
    replay = Replay(trace, finished=lambda _: None, doomed=lambda _: None)
    most = 0
    while replay.replay_for(1e-4):
        most = max(most, sum(one.taken_bytes for one in exchanges))
    assert most < 300_000 < many * reads * len(frame) / 4
    assert {one.decoder.events for one in exchanges} <= set(range(1, reads + 1))
