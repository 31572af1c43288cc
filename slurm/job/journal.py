"""The journal of an attempt at a task: one file that only it writes, one line an event."""

import os
import secrets
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from catalog.inside import read_inside
from catalog.secrets import redact
from orchestrator.host.files import write_all
from orchestrator.run.events import GroupFailed, RunEvent, RunFinished, RunStarted, Stage


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One event of a task."""

    at: str
    event: str
    """started, stage, run_started, run_finished, group_failed, told (a signal came), ended."""
    run_id: str = ""
    verdict: str = ""
    text: str = ""
    log_tail: str = ""
    node: str = ""
    group: str = ""
    """The server group that an event is about, where it is about one and no run of it."""
    exit_code: int | None = None


class TaskAttempt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which incarnation of which task this is."""

    array_job: int
    task: int
    job: int
    restart: int
    nonce: str

    @property
    def attempt_id(self) -> str:
        return f"{self.array_job}_{self.task}.r{self.restart}.{self.nonce}"


def this_attempt(environment: Mapping[str, str]) -> TaskAttempt:
    """Read from Slurm's variables which incarnation this process is."""
    job = int(environment["SLURM_JOB_ID"])
    return TaskAttempt(
        array_job=int(environment.get("SLURM_ARRAY_JOB_ID", job)),
        task=int(environment["SLURM_ARRAY_TASK_ID"]),
        job=job,
        # Slurm sets the variable only once a job has been requeued.
        restart=int(environment.get("SLURM_RESTART_COUNT", "0")),
        nonce=secrets.token_hex(4),
    )


class Journal:
    """Writes an attempt's entries; a listener of the runner's events."""

    def __init__(self, folder: Path, attempt: TaskAttempt) -> None:
        self.path = folder / f"{attempt.attempt_id}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = os.open(self.path, flags, 0o644)
        self.verdicts: list[str] = []
        self._stage = ""

    def __call__(self, event: RunEvent) -> None:
        match event:
            case Stage(_, text) if text != self._stage:
                self._stage = text
                self.write("stage", text=text)
            case RunStarted(run):
                self.write("run_started", run_id=run.run_id)
            case RunFinished(record, reasons):
                self.verdicts.append(record.verdict)
                text = "; ".join(reasons)
                self.write("run_finished", run_id=record.run_id, verdict=record.verdict, text=text)
            case GroupFailed(group, error, _, log_tail):
                self.write("group_failed", text=error, log_tail=log_tail, group=group.group_id)

    def write(
        self,
        event: str,
        *,
        run_id: str = "",
        verdict: str = "",
        text: str = "",
        log_tail: str = "",
        group: str = "",
    ) -> None:
        self._put(JournalEntry(at=_now(), event=event, run_id=run_id, verdict=verdict, group=group,
                        text=redact(text), log_tail=redact(log_tail)))  # fmt: skip

    def start(self, node: str) -> None:
        """Write the start of the attempt; Slurm's name of a node need not be its host name."""
        self._put(JournalEntry(at=_now(), event="started", node=node or socket.gethostname()))

    def end(self, verdict: str, exit_code: int, text: str = "") -> None:
        self._put(
            JournalEntry(
                at=_now(), event="ended", verdict=verdict, exit_code=exit_code, text=redact(text)
            )
        )

    def close(self) -> None:
        """Close the file; nothing more can be said of the attempt."""
        os.close(self._descriptor)

    def _put(self, entry: JournalEntry) -> None:
        write_all(self._descriptor, msgspec.json.encode(entry) + b"\n")
        os.fsync(self._descriptor)


def read_journal(path: Path) -> list[JournalEntry]:
    """Read an attempt's entries; the last line of one that was cut off is left out."""
    entries = []
    for line in read_inside(path.parent, path.name).splitlines():
        try:
            entries.append(msgspec.json.decode(line, type=JournalEntry))
        except msgspec.DecodeError:
            continue
    return entries


def read_attempt(path: Path) -> tuple[int, int, int] | None:
    """Return array job, task and restart count from the name of an attempt's journal."""
    job_task, _, rest = path.stem.partition(".r")
    job, _, task = job_task.partition("_")
    restart = rest.partition(".")[0]
    if not (job.isdecimal() and task.isdecimal() and restart.isdecimal()):
        return None
    return int(job), int(task), int(restart)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
