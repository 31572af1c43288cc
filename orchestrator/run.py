"""Run a plan: each server group is started once, and measured run by run."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import MoeserveError, ServerError, StorageError
from orchestrator.cells import Run
from orchestrator.engines.base import Engine, Session, Site, Stopped, Watch
from orchestrator.events import (
    GroupFailed,
    GroupStarted,
    Listener,
    Loading,
    RunFinished,
    RunStarted,
    Stage,
)
from orchestrator.failures import may_pass
from orchestrator.find import searches
from orchestrator.gate import Gate
from orchestrator.outcome import code_of, failed_record, identity_of, record_of
from orchestrator.plan import Plan, ServerGroup
from orchestrator.record import RunRecord, Verdict
from orchestrator.room import check_room
from orchestrator.rows import RowLog, write_parquet
from orchestrator.store import Manifest, Store, read_manifests
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
    listen: Listener
    stop: asyncio.Event
    gpus: tuple[str, ...] | None = None
    gate: Gate = field(default_factory=Gate)

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
        if not missing or not self.may_go_on(missing[0]):
            return False
        return await _Group(self, group, missing, last=last).run()

    def missing(self, group: ServerGroup) -> list[Run]:
        """Return the runs of a group that are still to be done, as far as they are known."""
        if self.plan.experiment.find_max:
            pending = self.next_trial(group)
            return [pending] if pending else []
        finished = self.store.finished()
        return [run for run in group.runs if run.run_id not in finished]

    def may_go_on(self, run: Run) -> bool:
        return not self.stop.is_set() and self.gate.may_start(run)

    def next_trial(self, group: ServerGroup) -> Run | None:
        """Return the run that a search of this group needs next; None when all are over."""
        records = {m.record.run_id: m.record for m in read_manifests(self.store.root) if m.files}
        for search in searches(self.plan.experiment, group):
            level = search.state(records).next_level()
            if level is not None:
                return search.at(level)
        return None


class _Group:
    """One server start and the runs on it."""

    def __init__(
        self, runner: Runner, group: ServerGroup, missing: Sequence[Run], *, last: bool
    ) -> None:
        self._runner, self._group, self._missing = runner, group, missing
        self._last = last
        self._broken: int | None = None
        self._folder = runner.store.new_server_folder(group.group_id)

    async def run(self) -> bool:
        """Measure what is missing; True when the server failed in a way that may pass."""
        runner, group = self._runner, self._group
        runner.listen(GroupStarted(group, len(self._missing)))
        site = Site(
            experiment=runner.plan.experiment,
            model=runner.plan.models[group.setup.model],
            folder=self._folder,
            gpus=runner.gpus,
            stop_grace_s=runner.gate.stop_grace_s,
        )
        watch = Watch(on_stage=lambda text: runner.listen(Stage(group, text)), stop=runner.stop)
        left = list(self._missing)
        try:
            async with runner.engine.open(group, site, watch) as session:
                while left and runner.may_go_on(left[0]):
                    await self._run_one(left[0], session)
                    left.pop(0)
                    if runner.plan.experiment.find_max:
                        left = [trial] if (trial := runner.next_trial(group)) else []
        except Stopped:
            return False
        except StorageError:
            raise  # no run has anywhere to go
        except MoeserveError as error:
            again = bool(left) and not self._last and may_pass(code_of(str(error)))
            self._fail(left, error, again=again)
            return again
        return False

    def _fail(self, left: Sequence[Run], error: MoeserveError, *, again: bool) -> None:
        """Record a server that failed against every run it still owed, unless it starts again."""
        if left and not self._runner.gate.may_publish():
            # We were told to end, and the server was told the same: it did not fail.
            self._record_failure(left[0], Interrupted("stopped"), "interrupted", None)
            return
        for run in () if again else left:
            self._record_failure(run, error, "failed", None)
        if again:
            # The run that was next is done once more: this attempt at it stays as what it was.
            self._record_failure(left[0], error, "failed", None, attempt=self._broken, tell=False)
        log = str(self._folder / "server.log")
        self._runner.listen(GroupFailed(self._group, str(error), log, _log_tail(error), again))

    async def _run_one(self, run: Run, session: Session) -> None:
        runner = self._runner
        check_room(runner.store.root, [run])
        runner.listen(RunStarted(run))
        attempt, folder = runner.store.new_attempt(run.run_id)
        identity = self._identity(run, session, attempt)
        rows: list[RequestRow] = []
        log = RowLog(folder / "requests.jsonl")

        def on_row(row: RequestRow) -> None:
            rows.append(row)
            log.append(row)

        watch = Watch(
            on_row=on_row,
            on_progress=lambda progress: runner.listen(Loading(run, progress)),
            on_stage=lambda text: runner.listen(Stage(self._group, text)),
            stop=runner.stop,
            folder=folder,
        )
        try:
            measurement = await session.measure(run, watch)
        except (MoeserveError, asyncio.CancelledError) as error:
            verdict: Verdict = "failed" if isinstance(error, MoeserveError) else "interrupted"
            if isinstance(error, ServerError):
                self._broken = attempt
                raise
            self._record_failure(run, error, verdict, session, attempt=attempt)
            if verdict == "interrupted":
                raise
            return
        finally:
            log.close()
        if runner.stop.is_set() and len(rows) < run.cell.num_prompts:
            self._record_failure(
                run, Interrupted("stopped"), "interrupted", session, attempt=attempt
            )
            return
        record, reasons = record_of(
            run,
            rows,
            measurement,
            plan=runner.plan,
            identity=identity,
        )
        self._publish(record, reasons, rows, folder, session)

    def _publish(
        self,
        record: RunRecord,
        reasons: tuple[str, ...],
        rows: Sequence[RequestRow],
        folder: Path,
        session: Session,
    ) -> None:
        store = self._runner.store
        parquet = folder / "requests.parquet"
        write_parquet(parquet, record.run_id, rows)
        details = {**self._details(session), "reasons": list(reasons)}
        files = tuple(store.stored(path) for path in sorted(folder.glob("*.parquet")))
        manifest = Manifest(record=record, files=files, details=details)
        if not self._runner.gate.may_publish():
            record, reasons = self._withhold(manifest, "interrupted", "INTERRUPTED: told to end")
        elif not store.publish(manifest):
            told = "SUPERSEDED: another attempt had published this run"
            record, reasons = self._withhold(manifest, "failed", told)
        # Its rows are in the published file now; the log is what a crash would have left.
        (folder / "requests.jsonl").unlink()
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
        tell: bool = True,
    ) -> None:
        store = self._runner.store
        number = attempt or store.new_attempt(run.run_id)[0]
        record = failed_record(error, verdict, identity=self._identity(run, session, number))
        details = {**self._details(session), "log_tail": _log_tail(error)}
        store.record_failure(Manifest(record=record, details=details))
        if tell:
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
            **self._runner.gate.details,
        }


def _log_tail(error: BaseException) -> str:
    return error.log_tail if isinstance(error, ServerError) else ""
