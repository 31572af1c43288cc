"""Parsers of the output of Slurm's commands: pure, for Slurm 22.05 and later."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

QUEUE_FORMAT = "%i|%F|%T|%r|%S|%e|%N|%j"
ACCOUNT_FIELDS = "JobID,JobName,State,ExitCode,Start,End,NodeList"
SUBMITTED = re.compile(r"(\d+)(?:;[\w.-]+)?|Submitted batch job (\d+)(?: on cluster [\w.-]+)?")
MAX_INDICES = 1_000_000


class UnreadableAnswer(ValueError):
    """A command of Slurm's answered in a shape that is not known: what it meant is unknown."""


@dataclass(frozen=True, slots=True)
class TaskId:
    """A job, or one task of an array job."""

    job: int
    task: int | None = None

    def __str__(self) -> str:
        return str(self.job) if self.task is None else f"{self.job}_{self.task}"


@dataclass(frozen=True, slots=True)
class JobInfo:
    """One task as squeue or sacct reports it."""

    task: TaskId
    name: str
    state: str
    reason: str = ""
    """Why it is pending, in Slurm's words."""
    start: str = ""
    """Expected or actual, local time, ISO 8601."""
    end: str = ""
    node: str = ""
    exit_code: str = ""


def parse_task_ids(text: str) -> Iterator[TaskId]:
    """Read `12`, `12+1`, `12_3`, `12_[4-11%4]`, `12_[0,2-8:2]`; steps (`12.batch`) give nothing."""
    match = re.fullmatch(r"(\d+)(?:\+\d+|_(?:(\d+)|\[([0-9,:\-]+)(?:%\d+)?\]))?", text.strip())
    if match is None:
        return
    job = int(match[1])
    if match[3] is None:
        yield TaskId(job, None if match[2] is None else int(match[2]))
        return
    for index in parse_indices(match[3]):
        yield TaskId(job, index)


def parse_indices(text: str) -> list[int]:
    """Read the indices of an array: `0,2-4,6-10:2`."""
    indices: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match is None:
            continue
        first, step = int(match[1]), int(match[3] or 1)
        last = int(match[2] or first)
        if step < 1 or last - first > MAX_INDICES:
            continue
        indices += range(first, last + 1, step)
    return indices


def write_indices(indices: list[int]) -> str:
    """Write indices as Slurm takes them, runs folded: `0-3,7`."""
    parts: list[str] = []
    ordered = sorted(set(indices))
    position = 0
    while position < len(ordered):
        end = position
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        first, last = ordered[position], ordered[end]
        parts.append(str(first) if first == last else f"{first}-{last}")
        position = end + 1
    return ",".join(parts)


def parse_queue(text: str) -> list[JobInfo]:
    """Read `squeue -h -r -o` with QUEUE_FORMAT; UnreadableAnswer if a row has another shape."""
    jobs = []
    # The name comes last, and others' names may hold the separator.
    for tasks, fields in _rows(text, QUEUE_FORMAT.count("|")):
        _, _, state, reason, start, end, node, name = fields
        for task in tasks:
            times = {"start": _time(start), "end": _time(end)}
            jobs.append(JobInfo(task, name, state, _reason(reason), node=node, **times))
    return jobs


def parse_accounting(text: str) -> list[JobInfo]:
    """Read `sacct -nPX -D -o` with ACCOUNT_FIELDS; the last record of each task counts.

    UnreadableAnswer if a row has another shape.
    """
    last: dict[TaskId, JobInfo] = {}
    for tasks, fields in _rows(text, ACCOUNT_FIELDS.count(",")):
        _, name, state, exit_code, start, end, node = fields
        for task in tasks:
            last[task] = JobInfo(
                task,
                name,
                state,
                start=_time(start),
                end=_time(end),
                node="" if node == "None assigned" else node,
                exit_code=exit_code,
            )
    return list(last.values())


def _rows(text: str, separators: int) -> Iterator[tuple[list[TaskId], list[str]]]:
    """Return each row's tasks and fields; lines without a separator are words, not rows."""
    for line in text.splitlines():
        fields = line.strip().split("|", separators)
        tasks = list(parse_task_ids(fields[0]))
        if len(fields) == 1 and not tasks:
            continue
        a_step = re.match(r"\d+(?:[_+]\d+)?\.", fields[0])
        if len(fields) != separators + 1 or not (tasks or a_step):
            raise UnreadableAnswer(line.strip()[:200])
        yield tasks, fields


def parse_config(text: str) -> dict[str, str]:
    """Read `scontrol show config`."""
    lines = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, equals, value in lines if equals}


def parse_submitted(text: str) -> int | None:
    """Read the job id that `sbatch --parsable` prints: `12` or `12;cluster`.

    A site's own sbatch may print what it does without the option, after a banner.
    """
    for line in reversed(text.splitlines()):
        if match := SUBMITTED.fullmatch(line.strip()):
            return int(match[1] or match[2])
    return None


def parse_duration(text: str) -> float | None:
    """Return seconds of `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M`, `D-H:M:S`; None if unlimited."""
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return None
    match = re.fullmatch(r"(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", text.strip())
    if match is None:
        raise ValueError(f"not a duration of Slurm's: {text!r}")
    days, numbers = match[1], [int(part) for part in match.groups()[1:] if part is not None]
    if days is not None:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, minutes, seconds = 0, numbers[0], numbers[1] if len(numbers) == 2 else 0
    return float(((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds)


def write_duration(seconds: float) -> str:
    """Write seconds as D-HH:MM:SS."""
    whole = int(seconds)
    minutes, hours = whole // 60, whole // 3600
    return f"{hours // 24}-{hours % 24:02}:{minutes % 60:02}:{whole % 60:02}"


def _time(text: str) -> str:
    return "" if text in ("N/A", "Unknown", "None", "(null)") else text


def _reason(text: str) -> str:
    return "" if text in ("None", "") else text.strip("()")
