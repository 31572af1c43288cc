"""Progress of a run on standard error: a live display on a terminal, plain lines in a pipe."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from catalog.plain_text import message, plain
from catalog.secrets import redact
from moeserve.cli.show import counted, note
from orchestrator.plan import Plan
from orchestrator.results.planned import run_name
from orchestrator.results.record import RunRecord
from orchestrator.run.events import (
    EventListener,
    GroupFailed,
    GroupStarted,
    Notice,
    RunEvent,
    RunFinished,
    RunProgress,
    RunStarted,
    Stage,
)

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from workloads.client.progress import Progress

LOG_LINES = 12
BAR = 16
"""Characters of the bar, which says least."""


@contextmanager
def progress(plan: Plan, done: int, *, quiet: bool) -> Iterator[EventListener]:
    """Give a listener that shows what happens; `done` runs were finished before."""
    # How many runs a search takes is known only when it is over.
    total = None if plan.experiment.find_max else len(plan.runs)
    if quiet:
        yield _failures_only
    elif sys.stderr.isatty():
        with _live(total, done) as listener:
            yield listener
    else:
        yield _Lines(total, done)


class _Lines:
    """One line for each thing worth knowing, for logs and pipes."""

    def __init__(self, total: int | None, done: int) -> None:
        self._of, self._done = (f"/{total}" if total else ""), done
        self._told = Told()
        self._stage = ""

    def __call__(self, event: RunEvent) -> None:
        match event:
            case GroupStarted(group, runs):
                self._stage = ""
                note(f"{group.group_id}: {counted(runs, 'run')}")
            case Stage(group, text) if text != self._stage:
                self._stage = text
                note(f"{group.group_id}: {text}")
            case RunFinished(record, reasons):
                self._done += 1
                line = summary_line(record, self._told.short(reasons))
                note(f"[{self._done}{self._of}] {line}")
            case GroupFailed() | Notice():
                _failures_only(event)


@contextmanager
def _live(total: int | None, done: int) -> Iterator[EventListener]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    whole = Column(no_wrap=True)
    # What is going on may be cut; how far it is, and for how long, never.
    columns = (
        BarColumn(bar_width=BAR),
        MofNCompleteColumn(table_column=whole),
        TimeRemainingColumn(table_column=whole),
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
        ),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, expand=True) as bar:
        yield _Live(bar, bar.add_task("", total=total, completed=done))


class _Live:
    """Feeds the bar: what is going on, tokens per second so far, runs finished."""

    def __init__(self, bar: "Bar", task: "TaskID") -> None:
        self._bar, self._task = bar, task
        self._what = self._run = ""
        self._started = 0.0
        self._told = Told()

    def __call__(self, event: RunEvent) -> None:
        match event:
            case GroupStarted(group, _):
                self._say(group.group_id)
            case Stage(group, text):
                # While a run is measured its own name says more than the word.
                self._say(self._run if text == "measuring" else f"{group.group_id}: {text}")
            case RunStarted(run):
                self._started = time.monotonic()
                self._run = run_name(run)
                self._say(self._run)
            case RunProgress(run, progress):
                self._loading(run.cell.num_prompts, progress)
            case RunFinished(record, reasons):
                self._bar.advance(self._task)
                if reasons:
                    self._print(summary_line(record, self._told.short(reasons)))
            case GroupFailed() | Notice():
                self._print(event.text if isinstance(event, Notice) else failure_text(event))

    def _say(self, what: str) -> None:
        self._what = what
        self._bar.update(self._task, description=plain(redact(what)))

    def _print(self, text: str) -> None:
        self._bar.console.print(message(redact(text)), markup=False, highlight=False)

    def _loading(self, requests: int, progress: "Progress") -> None:
        rate = progress.reads / max(time.monotonic() - self._started, 1e-9)
        far = f"{progress.ended}/{requests} requests, {progress.in_flight} in flight"
        text = f"{self._what}  {far}, {rate:,.0f} tok/s"
        self._bar.update(self._task, description=plain(redact(text)))


def _failures_only(event: RunEvent) -> None:
    if isinstance(event, GroupFailed):
        note(failure_text(event))
    elif isinstance(event, Notice):
        note(event.text)


def failure_text(event: GroupFailed) -> str:
    """Say why a server failed, with the end of its log."""
    more = "asking" if event.group.setup.endpoint else "starting"
    again = f"; {more} it once more" if event.starts_again else ""
    log = f" (log: {event.log})" if event.log else ""
    text = f"{event.group.group_id}: {event.error}{log}{again}"
    lines = event.log_tail.strip().splitlines()[-LOG_LINES:]
    return "\n".join([text, *(f"  | {line}" for line in lines)])


class Told:
    """Reasons whose words were shown already: from then on their code is enough."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def short(self, reasons: tuple[str, ...]) -> tuple[str, ...]:
        new = tuple(r.split(":", 1)[0] if r in self._told else r for r in reasons)
        self._told.update(reasons)
        return new


def summary_line(record: RunRecord, reasons: tuple[str, ...]) -> str:
    """Say in one line what a run gave, or what is wrong with it."""
    load = f"c={record.max_concurrency}" if record.max_concurrency else ""
    rate = f"{record.request_rate:g}/s" if record.request_rate else ""
    names = (record.model, record.strategy, record.workload, load, rate)
    name = " ".join(part for part in names if part)
    if record.output_throughput is None:
        return f"{name}: {record.verdict}: {record.error}"
    ttft_ms = record.mean_ttft_ms
    first = "no first token" if ttft_ms is None else f"TTFT {ttft_ms:.1f} ms"
    figures = f"{record.output_throughput:,.1f} tok/s, {first}"
    return f"{name}: {figures} ({record.verdict}{': ' if reasons else ''}{'; '.join(reasons)})"
