"""One array task: `python -m slurm.task DIR TOKEN ARRAY` runs its server group and publishes."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from catalog.errors import MoeserveError, ResultsError
from orchestrator.devices import Device, devices
from orchestrator.engines.registry import engine
from orchestrator.gate import Gate
from orchestrator.plan import Plan, ServerGroup
from orchestrator.run import Runner
from orchestrator.store import Store
from orchestrator.study import Study, environment_of
from slurm.arrays import need_of
from slurm.deadline import Deadline, deadline_of
from slurm.gpu_check import Checked
from slurm.journal import Attempt, Journal, this_attempt
from slurm.orders import Orders
from slurm.parse import parse_duration
from slurm.scratch import node_scratch
from slurm.submission import Desk, Submission, TaskSpec

INTERRUPTED, TERMINATED, INCOMPLETE = 130, 143, 5
KILL_RESERVE_S = 5.0
"""What is left of the time between TERM and KILL once the server has had its part."""


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run the task that these arguments and Slurm's variables name; return the exit code."""
    root, token, array = Path(arguments[0]), arguments[1], int(arguments[2])
    submission = Desk(root).submission(token)
    attempt = this_attempt(environment)
    journal = Journal(root / "slurm" / token / "tasks", attempt)
    journal.start(environment.get("SLURMD_NODENAME", ""))
    try:
        with Orders(journal) as orders:
            spec = submission.arrays[array].tasks[attempt.task]
            deadline = _deadline(submission, array, environment)
            task = Task(root, submission, attempt, spec, journal)
            with node_scratch(submission.options.scratch, needed=submission.engine == "vllm"):
                verdict, exit_code = asyncio.run(task.run(orders, deadline))
    except MoeserveError as error:
        journal.end("failed", error.exit_code, str(error))
        raise
    journal.end(verdict, exit_code)
    return exit_code


def _deadline(submission: Submission, array: int, environment: Mapping[str, str]) -> Deadline:
    """Return the end of the job: as Slurm tells it, else its limit from now on."""
    margin_s = max(KILL_RESERVE_S, submission.kill_wait_s)
    words = submission.arrays[array].arguments
    limits = [word.removeprefix("--time=") for word in words if word.startswith("--time=")]
    limit_s = parse_duration(limits[-1]) if limits else None
    return deadline_of(environment, margin_s=margin_s, limit_s=limit_s)


class Task:
    """An attempt at a server group."""

    def __init__(
        self,
        root: Path,
        submission: Submission,
        attempt: Attempt,
        spec: TaskSpec,
        journal: Journal,
    ) -> None:
        self._store, self._submission = Store(root), submission
        self._attempt, self._spec, self._journal = attempt, spec, journal

    async def run(self, orders: Orders, deadline: Deadline) -> tuple[str, int]:
        """Do what is missing of the group; return how it ended and the exit code."""
        plan = self._submission.plan()
        group = _group(plan, self._spec.group_id)
        orders.start(deadline, lead_s=float(self._submission.options.signal_lead_s))
        work = asyncio.ensure_future(
            self._work(replace(plan, groups=(group,)), group, orders, deadline)
        )
        orders.work = work
        # When it is cancelled, the engine's context takes the server down on the way.
        with contextlib.suppress(asyncio.CancelledError):
            await work
        return self._verdict(group, orders)

    async def _work(
        self, plan: Plan, group: ServerGroup, orders: Orders, deadline: Deadline
    ) -> None:
        """Run the group on this node, or over all nodes of the job through Ray inside it."""
        name, options = self._submission.engine, self._submission.options
        need = need_of(group, options, plan.experiment.ray)
        gate = self._gate(orders, deadline)
        if need.nodes > 1:
            # Here, so that a task on one node does not load any of it.
            from orchestrator.cluster.launch import run_in
            from slurm.inside import ray_inside

            folder = self._store.root / "slurm" / self._submission.token / "ray"
            folder.mkdir(exist_ok=True)
            own = folder / self._attempt.attempt_id
            async with ray_inside(os.environ, own, gpus=need.gpus) as entered:
                study = Study(plan, name, "", (), entered.nodes)
                await run_in(
                    study, self._store, entered, listen=self._journal, stop=orders.stop, gate=gate
                )
            return
        real = name == "vllm" and group.setup.hardware != "CPU"
        found: tuple[Device, ...] = devices() if real else ()
        serving = engine(name)
        runner = Runner(
            plan=plan,
            engine=Checked(serving, found) if real else serving,
            store=self._store,
            environment=self._store.keep_environment(
                await environment_of(Study(plan, name, "", found))
            ),
            listen=self._journal,
            stop=orders.stop,
            gpus=tuple(str(device.index) for device in found) or None,
            gate=gate,
        )
        await runner.run()

    def _gate(self, orders: Orders, deadline: Deadline) -> Gate:
        grace_s = max(0.5, self._submission.kill_wait_s - 2 * KILL_RESERVE_S)
        made_by = {
            "attempt": self._attempt.attempt_id,
            "token": self._submission.token,
            "job": self._attempt.job,
        }
        return Gate(
            may_start=lambda _: orders.may_start(deadline, self._spec.run_s),
            may_publish=lambda: not orders.terminated,
            stop_grace_s=grace_s,
            details={"slurm": made_by},
        )

    def _verdict(self, group: ServerGroup, orders: Orders) -> tuple[str, int]:
        finished = self._store.finished()
        if orders.terminated:
            return "terminated", TERMINATED
        if all(run.run_id in finished for run in group.runs):
            return "done", 0
        if orders.closing:
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
        sys.stderr.write(f"moeserve: {error}\n")
        code = error.exit_code
    # A late signal must not turn a task that has said how it ended into one that died.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    sys.exit(code)
