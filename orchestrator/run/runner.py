"""Run a plan: each server group is started once, and measured run by run."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import MoeserveError, ServerError, StorageError
from orchestrator.engine import Callbacks, Engine, LaunchContext, Session, Stopped
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.cells import Run
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.measure.failures import is_retryable
from orchestrator.plan import Plan
from orchestrator.results.disk_space import check_disk_space
from orchestrator.results.manifests import Manifest, read_manifests
from orchestrator.results.record import RunRecord, Verdict
from orchestrator.results.rows import RowLog, write_parquet
from orchestrator.results.store import Store
from orchestrator.run.bugs import is_bug, keep_traceback
from orchestrator.run.capacity_search import searches
from orchestrator.run.continuity import check_same_server
from orchestrator.run.events import (
    EventListener,
    GroupFailed,
    GroupStarted,
    RunFinished,
    RunProgress,
    RunStarted,
    Stage,
)
from orchestrator.run.limits import RunLimits
from orchestrator.run.outcome import build_record, code_of, failed_record, identity_of
from workloads.transcript import RequestRow


class Interrupted(Exception):
    """The user asked to stop while a run was measured."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs the groups of a plan into a store: `run` one after another, `start` any one of them."""

    plan: Plan
    engine: Engine
    store: Store
    environment: str
    listen: EventListener
    stop: asyncio.Event
    gpus: tuple[str, ...] | None = None
    limits: RunLimits = field(default_factory=RunLimits)

    async def run(self) -> None:
        """Do every run not yet published; a failed one becomes a record, and the rest goes on."""
        for group in self.plan.groups:
            starts_left = 1 + self.plan.experiment.retries
            while starts_left and await self.start(group, last=starts_left == 1):
                starts_left -= 1

    async def start(self, group: ServerGroup, *, last: bool) -> bool:
        """Start a group's server once for what is missing; True when another start may go better.

        With `last` there is none, and what is missing is recorded as failed.
        """
        missing = self.missing(group)
        if not missing or not self.may_continue(missing[0]):
            return False
        return await _ServerStart(self, group, missing, last=last).run()

    def missing(self, group: ServerGroup) -> list[Run]:
        """Return the runs of a group that are still to be done, as far as they are known."""
        if self.plan.experiment.find_max:
            pending = self.next_trial(group)
            return [pending] if pending else []
        finished = self.store.finished()
        return [run for run in group.runs if run.run_id not in finished]

    def may_continue(self, run: Run) -> bool:
        return not self.stop.is_set() and self.limits.may_start(run)

    def next_trial(self, group: ServerGroup) -> Run | None:
        """Return the run that a search of this group needs next; None when all are over."""
        records = {m.record.run_id: m.record for m in read_manifests(self.store.root) if m.files}
        for search in searches(self.plan.experiment, group):
            level = search.state(records).next_level()
            if level is not None:
                return search.run_at(level)
        return None


class _ServerStart:
    """One server start and the runs on it."""

    def __init__(
        self, runner: Runner, group: ServerGroup, missing: Sequence[Run], *, last: bool
    ) -> None:
        self._runner, self._group, self._missing = runner, group, missing
        self._last = last
        self._failed_attempt: int | None = None
        self._start_s: float | None = None
        self._folder = runner.store.new_server_folder(group.group_id)

    async def run(self) -> bool:
        """Measure what is missing; True when the server failed in a way that may pass."""
        runner, group = self._runner, self._group
        runner.listen(GroupStarted(group, len(self._missing)))
        context = LaunchContext(
            experiment=runner.plan.experiment,
            model=runner.plan.models[group.setup.model],
            folder=self._folder,
            gpus=runner.gpus,
            stop_grace_s=runner.limits.stop_grace_s,
        )
        callbacks = Callbacks(
            on_stage=lambda text: runner.listen(Stage(group, text)), stop=runner.stop
        )
        remaining, began = list(self._missing), time.monotonic()
        try:
            async with runner.engine.open(group, context, callbacks) as session:
                self._start_s = round(time.monotonic() - began, 3)
                check_same_server(runner.store.root, session.details)
                while remaining and runner.may_continue(remaining[0]):
                    finished = await self._run_one(remaining[0], session)
                    remaining.pop(0)
                    # A search goes on from what it has learnt: from a failure it learns nothing.
                    if runner.plan.experiment.find_max and finished:
                        remaining = [trial] if (trial := runner.next_trial(group)) else []
        except Stopped:
            return False
        except StorageError:
            raise  # no run has anywhere to go
        except MoeserveError as error:
            again = bool(remaining) and not self._last and is_retryable(error)
            self._fail(remaining, error, again=again)
            return again
        except Exception as error:
            if not is_bug(error):
                raise
            path = runner.store.traceback_file(self._folder.name)
            self._fail(remaining, keep_traceback(error, path), again=False)
        return False

    def _fail(self, remaining: Sequence[Run], error: MoeserveError, *, again: bool) -> None:
        """Record a server that failed against every run it still owed, unless it starts again."""
        if remaining and not self._runner.limits.may_publish():
            # This process and the server got the same signal: the server did not fail.
            self._record_failure(remaining[0], Interrupted("stopped"), "interrupted", None)
            return
        for run in () if again else remaining:
            self._record_failure(run, error, "failed", None)
        if again:
            # The run that was next is done once more: this attempt at it stays as what it was.
            self._record_failure(
                remaining[0], error, "failed", None, attempt=self._failed_attempt, notify=False
            )
        path = self._folder / "server.log"
        log = str(path) if path.exists() else ""
        self._runner.listen(GroupFailed(self._group, str(error), log, _log_tail(error), again))

    async def _run_one(self, run: Run, session: Session) -> bool:
        """Measure a run and publish it; False when only its failure could be recorded."""
        runner = self._runner
        check_disk_space(runner.store.root, [run])
        runner.listen(RunStarted(run))
        attempt, folder = runner.store.new_attempt(run.run_id)
        identity = self._identity(run, session, attempt)
        rows: list[RequestRow] = []
        # A virtual engine gives a run's rows all at once: no crash can leave some of them.
        virtual = engine_kind(self._group.setup.engine).virtual
        log = RowLog(None if virtual else folder / "requests.jsonl")

        def on_row(row: RequestRow) -> None:
            rows.append(row)
            log.append(row)

        callbacks = Callbacks(
            on_row=on_row,
            on_progress=lambda progress: runner.listen(RunProgress(run, progress)),
            on_stage=lambda text: runner.listen(Stage(self._group, text)),
            stop=runner.stop,
            folder=folder,
        )
        try:
            measurement = await session.measure(run, callbacks)
            if runner.stop.is_set() and len(rows) < run.cell.num_prompts:
                raise Interrupted("stopped")
            record, reasons = build_record(
                run, rows, measurement, plan=runner.plan, identity=identity
            )
            write_parquet(folder / "requests.parquet", record.run_id, rows)
        except ServerError:
            self._failed_attempt = attempt
            raise
        except (Interrupted, asyncio.CancelledError) as error:
            self._record_failure(run, error, "interrupted", session, attempt=attempt)
            if isinstance(error, asyncio.CancelledError):
                raise
            return False
        except Exception as error:  # noqa: BLE001 (`_told` raises what is no run's own)
            self._record_failure(
                run, self._told(error, folder.name), "failed", session, attempt=attempt
            )
            return False
        finally:
            log.close()
        self._publish(record, reasons, folder, session)
        return True

    def _told(self, error: Exception, attempt: str) -> MoeserveError:
        """Return an error meant for the user: a fault of ours becomes one, with its traceback."""
        if is_bug(error):
            return keep_traceback(error, self._runner.store.traceback_file(attempt))
        if isinstance(error, MoeserveError):
            return error
        raise error

    def _publish(
        self, record: RunRecord, reasons: tuple[str, ...], folder: Path, session: Session
    ) -> None:
        store = self._runner.store
        details = {**self._details(session), "reasons": list(reasons)}
        files = tuple(store.stored(path) for path in sorted(folder.glob("*.parquet")))
        manifest = Manifest(record=record, files=files, details=details)
        if not self._runner.limits.may_publish():
            record, reasons = self._withhold(manifest, "interrupted", "INTERRUPTED: told to end")
        elif not store.publish(manifest):
            reason = "SUPERSEDED: another attempt had published this run"
            record, reasons = self._withhold(manifest, "failed", reason)
        # Its rows are in the published file now; the log is what a crash would have left.
        (folder / "requests.jsonl").unlink(missing_ok=True)
        self._runner.listen(RunFinished(record, reasons))

    def _withhold(
        self, manifest: Manifest, verdict: Verdict, reason: str
    ) -> tuple[RunRecord, tuple[str, ...]]:
        """Keep a finished attempt that must not be published beside those that failed."""
        record = msgspec.structs.replace(
            manifest.record, verdict=verdict, verdict_reasons=code_of(reason), error=reason
        )
        self._runner.store.record_failure(msgspec.structs.replace(manifest, record=record))
        return record, (reason,)

    def _record_failure(
        self,
        run: Run,
        error: BaseException,
        verdict: Verdict,
        session: Session | None,
        *,
        attempt: int | None = None,
        notify: bool = True,
    ) -> None:
        store = self._runner.store
        number = attempt or store.new_attempt(run.run_id)[0]
        record = failed_record(error, verdict, identity=self._identity(run, session, number))
        details = {**self._details(session), "log_tail": _log_tail(error)}
        store.record_failure(Manifest(record=record, details=details))
        if notify:
            self._runner.listen(RunFinished(record, (record.error,)))

    def _identity(self, run: Run, session: Session | None, attempt: int) -> dict[str, Any]:
        return identity_of(
            run,
            self._group,
            session,
            attempt=attempt,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            server_group=self._folder.name,
        )

    def _details(self, session: Session | None) -> dict[str, Any]:
        return {
            "environment": self._runner.environment,
            "goodput": dict(self._runner.plan.experiment.goodput),
            "server_folder": str(self._folder.relative_to(self._runner.store.root)),
            "server": dict(session.details) if session else {},
            # From the launch until it has proved ready: what the next start may take.
            **({} if self._start_s is None else {"start_s": self._start_s}),
            **self._runner.limits.details,
        }


def _log_tail(error: BaseException) -> str:
    return error.log_tail if isinstance(error, ServerError) else ""
