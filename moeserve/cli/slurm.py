"""`moeserve slurm`: the same experiment as Slurm array jobs."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.errors import ClusterError
from moeserve.cli.options import ExperimentArgument, ExperimentFlags, with_experiment
from moeserve.cli.show import Format, FormatOption, note, show
from moeserve.cli.slurm_flags import (
    AccountOption,
    ClusterOption,
    ConstraintOption,
    ContainerImageOption,
    CpusOption,
    DryRunOption,
    GpuTypeOption,
    InterfaceOption,
    MaxParallelOption,
    MemoryOption,
    PartitionOption,
    ProfileOption,
    QosOption,
    RehearseOption,
    RequeueOption,
    RoundsOption,
    SbatchOption,
    SharedDirOption,
    ThenOption,
    TimeOption,
    parse_container,
    parse_follow_ups,
)

if TYPE_CHECKING:
    from slurm.scheduler.parse import JobInfo
    from slurm.watch.collect import CollectResult
    from slurm.watch.status import StudyStatus

SUBMIT_HELP = """Submit what is missing of an experiment, one array task a server group.

Examples:

  moeserve slurm submit examples/slurm_study.yaml -o /shared/study --then collect,report

  moeserve slurm submit -m mixtral -s tp,ep --hardware A100-80GB --partition gpu -o out --dry-run

The same command again submits only what is neither published nor in the queue.
"""
STATUS_HELP = """Say how every task stands.

Example: moeserve slurm status /shared/study --watch
"""
COLLECT_HELP = """Join what the tasks left, say what is missing, and submit that again if asked.

Example: moeserve slurm collect /shared/study --retry
"""
CANCEL_HELP = """End all jobs of a results directory, by their ids.

Example: moeserve slurm cancel /shared/study
"""
slurm_app = typer.Typer(no_args_is_help=True, help="The same experiment as Slurm array jobs.")
DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="A results directory.")]


def add_to(app: typer.Typer) -> None:
    slurm_app.command("submit", help=SUBMIT_HELP)(submit)
    slurm_app.command("status", help=STATUS_HELP)(status)
    slurm_app.command("collect", help=COLLECT_HELP)(collect)
    slurm_app.command("cancel", help=CANCEL_HELP)(cancel)
    app.add_typer(slurm_app, name="slurm")


@with_experiment
def submit(
    flags: ExperimentFlags,
    experiment: ExperimentArgument = None,
    result_dir: SharedDirOption = None,
    partition: PartitionOption = None,
    account: AccountOption = None,
    qos: QosOption = None,
    constraint: ConstraintOption = None,
    gpu_type: GpuTypeOption = None,
    time: TimeOption = None,
    cpus: CpusOption = None,
    memory: MemoryOption = None,
    container: ContainerImageOption = None,
    interface: InterfaceOption = None,
    sbatch: SbatchOption = None,
    max_parallel: MaxParallelOption = None,
    requeue: RequeueOption = None,
    rehearse: RehearseOption = None,
    cluster: ClusterOption = None,
    profile: ProfileOption = None,
    then: ThenOption = None,
    rounds: RoundsOption = 0,
    dry_run: DryRunOption = False,
    output: FormatOption = Format.table,
) -> None:
    from moeserve.cli.slurm_submit import SubmitRequest, submit_study

    given: dict[str, Any] = {
        "partition": partition, "account": account, "qos": qos, "constraint": constraint,
        "gpu_type": gpu_type, "time": time, "cpus": cpus, "memory": memory,
        "container": parse_container(container), "interface": interface, "sbatch": sbatch or None,
        "max_parallel": max_parallel, "requeue": requeue, "rehearse": rehearse,
    }  # fmt: skip
    request = SubmitRequest(
        experiment=flags.experiment(experiment),
        flags={name: value for name, value in given.items() if value is not None},
        cluster=cluster,
        profile=profile,
        then=parse_follow_ups(then),
        rounds=rounds,
    )
    rows = asyncio.run(submit_study(request, result_dir, dry_run=dry_run))
    show(rows, output)


def status(
    directory: DirectoryArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again until all have ended.")
    ] = False,
    counts: Annotated[
        bool, typer.Option("--counts", help="One row: tasks by state, rate, expected end.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", help="All tasks in the table, however many.")
    ] = False,
    output: FormatOption = Format.table,
) -> None:
    from moeserve.cli.slurm_show import show_counts, show_tasks
    from moeserve.cli.slurm_watch import watch_tasks

    found = asyncio.run(watch_tasks(directory)) if watch else asyncio.run(_look(directory))
    if counts:
        show_counts(found, output)
    else:
        show_tasks(found, output, every=every)


async def _look(directory: Path) -> "StudyStatus":
    from slurm.scheduler.command import SlurmCommands
    from slurm.submit.submission import SubmissionStore
    from slurm.watch.status import status as look

    return await look(SlurmCommands(), SubmissionStore(directory).check())


def collect(
    directory: DirectoryArgument,
    retry: Annotated[
        bool, typer.Option("--retry", help="Submit again what is missing and no task is at.")
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=1, help="With --retry: rounds left, this one included."),
    ] = None,
    output: FormatOption = Format.table,
) -> None:
    code = asyncio.run(_collect(directory.absolute(), output, retry=retry, rounds=rounds))
    raise typer.Exit(code)


async def _collect(directory: Path, output: Format, *, retry: bool, rounds: int | None) -> int:
    """Look, record and submit again in one turn; return the exit code."""
    from moeserve.cli.slurm_submit import retry_missing
    from orchestrator.results.disk_space import storage_errors
    from slurm.scheduler.command import SlurmCommands
    from slurm.submit.submission import SubmissionStore
    from slurm.submit.turn import turn
    from slurm.watch.collect import collect as join
    from slurm.watch.status import status as look

    slurm, store = SlurmCommands(), SubmissionStore(directory).check()
    async with turn(directory, note):
        found = await look(slurm, store)
        with storage_errors(directory):
            collected = join(directory, found)
        _show_collected(found, collected, output)
        if retry and collected.retry:
            rows = await retry_missing(
                directory, collected, slurm=slurm, rounds=rounds, active=found.active
            )
            jobs = ", ".join(str(row["job"]) for row in rows)
            note(f"submitted again: {jobs}" if rows else "not submitted again: these failures last")
    return 5 if collected.missing else 0


def _show_collected(found: "StudyStatus", collected: "CollectResult", output: Format) -> None:
    show(
        [{
            "published": collected.published, "missing": collected.missing,
            "failures_recorded": collected.recorded, "active_tasks": len(found.active),
            "tasks_to_retry": len(collected.retry), "bad_nodes": ",".join(collected.bad_nodes),
        }],
        output,
    )  # fmt: skip
    for task in found.tasks:
        if task.state not in ("done", "pending", "running"):
            told = f"{task.state}{': ' if task.failure else ''}{task.failure}"
            note(f"{task.group.group_id}: {told}, {task.done} of {len(task.group.runs)} runs")


def cancel(directory: DirectoryArgument, output: FormatOption = Format.table) -> None:
    jobs, left = asyncio.run(_cancel(directory.absolute()))
    show([{"job": job, "cancelled": True} for job in jobs], output)
    if left:
        raise ClusterError(f"not ended yet: {', '.join(str(each.task) for each in left[:10])}")
    note(f"{len(jobs)} jobs cancelled" if jobs else "no job of this directory is in the queue")


async def _cancel(directory: Path) -> "tuple[list[int], list[JobInfo]]":
    """Cancel in a turn: half of what is being submitted would come after it."""
    from slurm.scheduler.command import SlurmCommands
    from slurm.submit.submission import SubmissionStore
    from slurm.submit.turn import turn
    from slurm.watch.cancel import cancel as end

    slurm, store = SlurmCommands(), SubmissionStore(directory).check()
    async with turn(directory, note):
        return await end(slurm, store)
