"""One array task, `python -m slurm.job.task DIR TOKEN ARRAY`: it runs its server groups."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from catalog.errors import ClusterError, MoeserveError, ResultsError
from catalog.inside import own_folder
from catalog.secrets import redact
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.devices import Inventory, inventory
from orchestrator.plan import Plan, Study
from orchestrator.results.store import Store
from orchestrator.run.limits import RunLimits
from orchestrator.run.runner import Runner
from orchestrator.study import environment_of
from slurm.job.deadline import Deadline, deadline_of
from slurm.job.gpu_check import GpuCheckedEngine
from slurm.job.journal import Journal, TaskAttempt, this_attempt
from slurm.job.neighbours import NeighbourEngine
from slurm.job.place import server_place
from slurm.job.signals import SignalHandler
from slurm.scheduler.parse import parse_duration
from slurm.scheduler.states import SETUP_FAILED
from slurm.submit.arrays import ArrayRequest, array_request
from slurm.submit.job_script import FAILED
from slurm.submit.submission import Submission, SubmissionStore, TaskSpec
from workloads.transcript import clean_error

INTERRUPTED, TERMINATED, INCOMPLETE = 130, 143, 5
KILL_RESERVE_S = 5.0
"""What is left of the time between TERM and KILL once the server has had its part."""


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run the task that these arguments and Slurm's variables name; return the exit code."""
    root, token, array = Path(arguments[0]), arguments[1], int(arguments[2])
    submission = SubmissionStore(root).submission(token)
    attempt = this_attempt(environment)
    with contextlib.closing(Journal(root / "slurm" / token / "tasks", attempt)) as journal:
        journal.start(environment.get("SLURMD_NODENAME", ""))
        try:
            with SignalHandler(journal) as signals:
                specs = submission.arrays[array].by_index[attempt.task]
                _check_setup(environment, root / "slurm" / token / "logs", attempt)
                deadline = _deadline(submission, array, environment)
                task = TaskRunner(root, submission, attempt, specs, journal)
                verdict, exit_code = asyncio.run(task.run(signals, deadline))
        except MoeserveError as error:
            journal.end("failed", error.exit_code, str(error))
            raise
        journal.end(verdict, exit_code)
        return exit_code


def _check_setup(environment: Mapping[str, str], logs: Path, attempt: TaskAttempt) -> None:
    """Fail where a setup line did not succeed, with the last words of the job before."""
    failed = environment.get(FAILED)
    if not failed:
        return
    with contextlib.suppress(OSError):
        log = (logs / f"{attempt.array_job}_{attempt.task}.log").read_text(errors="replace")
        said = [line for line in log.splitlines() if line.strip() and SETUP_FAILED not in line]
        failed += f": {clean_error(said[-1])}" if said else ""
    raise ClusterError(f"SETUP_FAILED: {failed}")


def _deadline(submission: Submission, array: int, environment: Mapping[str, str]) -> Deadline:
    """Return the end of the job: as Slurm tells it, else its limit from now on."""
    margin_s = max(KILL_RESERVE_S, submission.kill_wait_s)
    words = submission.arrays[array].arguments
    limits = [word.removeprefix("--time=") for word in words if word.startswith("--time=")]
    limit_s = parse_duration(limits[-1]) if limits else None
    return deadline_of(environment, margin_s=margin_s, limit_s=limit_s)


class TaskRunner:
    """An attempt at a server group, or at several beside each other on one node."""

    def __init__(
        self,
        root: Path,
        submission: Submission,
        attempt: TaskAttempt,
        specs: Sequence[TaskSpec],
        journal: Journal,
    ) -> None:
        self._store, self._submission = Store(root), submission
        self._attempt, self._specs, self._journal = attempt, specs, journal

    async def run(self, signals: SignalHandler, deadline: Deadline) -> tuple[str, int]:
        """Do what is missing of its groups; return how it ended and the exit code."""
        plan = self._submission.plan()
        groups = tuple(_group(plan, spec.group_id) for spec in self._specs)
        signals.start(deadline, lead_s=float(self._submission.options.signal_lead_s))
        work = asyncio.ensure_future(self._work(replace(plan, groups=groups), signals, deadline))
        signals.work = work
        # When it is cancelled, the engine's context takes the server down on the way.
        with contextlib.suppress(asyncio.CancelledError):
            await work
        return self._verdict(groups, signals)

    async def _work(self, plan: Plan, signals: SignalHandler, deadline: Deadline) -> None:
        """Run the group on this node, or what spans or shares the job's nodes through Ray."""
        options, group = self._submission.options, plan.groups[0]
        request = array_request(group, options, plan.experiment.ray)
        with server_place(self._submission, self._store.root, nodes=request.nodes):
            await self._run_on(request, plan, group, signals, deadline)

    async def _run_on(
        self,
        request: ArrayRequest,
        plan: Plan,
        group: ServerGroup,
        signals: SignalHandler,
        deadline: Deadline,
    ) -> None:
        kind, options = engine_kind(self._submission.engine), self._submission.options
        limits = self._limits(signals, deadline)
        if request.nodes > 1 or request.packed:
            # Here, so that a task on one node does not load any of it.
            from orchestrator.cluster.launch import run_with_access
            from slurm.job.ray_allocation import ray_on_allocation

            folder = own_folder(self._store.root, "slurm", self._submission.token, "ray")
            own = folder / self._attempt.attempt_id
            async with ray_on_allocation(
                os.environ, own, gpus=request.gpus, interface=options.interface
            ) as access:
                study = Study(plan, kind.name, "", (), access.nodes)
                await run_with_access(
                    study,
                    self._store,
                    access,
                    listen=self._journal,
                    stop=signals.stop,
                    limits=limits,
                )
            return
        real = kind.devices != "none" and group.setup.hardware != "CPU"
        seen = inventory() if real else Inventory()
        found = seen.devices
        serving = kind.build()
        checked = GpuCheckedEngine(serving, found, seen.why) if real else serving
        runner = Runner(
            plan=plan,
            engine=serving if kind.virtual else NeighbourEngine(checked),
            store=self._store,
            environment=self._store.keep_environment(
                await environment_of(Study(plan, kind.name, "", found))
            ),
            listen=self._journal,
            stop=signals.stop,
            gpus=tuple(device.visible_as for device in found) or None,
            limits=limits,
        )
        await runner.run()

    def _limits(self, signals: SignalHandler, deadline: Deadline) -> RunLimits:
        grace_s = max(0.5, self._submission.kill_wait_s - 2 * KILL_RESERVE_S)
        made_by = {
            "attempt": self._attempt.attempt_id,
            "token": self._submission.token,
            "job": self._attempt.job,
        }
        runs_s = [spec.run_s for spec in self._specs if spec.run_s is not None]
        return RunLimits(
            may_start=lambda _: signals.may_start(deadline, max(runs_s, default=None)),
            may_publish=lambda: not signals.terminated,
            stop_grace_s=grace_s,
            details={"slurm": made_by},
        )

    def _verdict(self, groups: Iterable[ServerGroup], signals: SignalHandler) -> tuple[str, int]:
        finished = self._store.finished()
        if signals.terminated:
            return "terminated", TERMINATED
        if all(run.run_id in finished for group in groups for run in group.runs):
            return "done", 0
        if signals.closing:
            return "interrupted", INTERRUPTED
        return "failed", INCOMPLETE


def _group(plan: Plan, group_id: str) -> ServerGroup:
    for group in plan.groups:
        if group.group_id == group_id:
            return group
    raise ResultsError(f"the plan has no server group {group_id}: was moeserve updated meanwhile?")


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:], os.environ)
    except MoeserveError as error:
        sys.stderr.write(f"moeserve: {redact(str(error))}\n")
        code = error.exit_code
    # A late signal must not turn a task that has said how it ended into one that died.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    sys.exit(code)
