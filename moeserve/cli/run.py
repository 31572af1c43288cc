"""`moeserve run` and `moeserve plan`: the main job, and what it would do."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.optional_dependencies import need_extra
from moeserve.cli.answer import can_answer, say_answer_of
from moeserve.cli.options import ExperimentArgument, ExperimentFlags, with_experiment
from moeserve.cli.results_flags import FreshOption, RedoOption, result_dir_option
from moeserve.cli.run_table import SUMMARY, in_order
from moeserve.cli.search_answer import search_answers
from moeserve.cli.show import Format, FormatOption, counted, note, show
from orchestrator.results.record import SIMULATED, Row

if TYPE_CHECKING:
    from orchestrator.plan import Study
    from orchestrator.results.store import Store

RUN_EXAMPLES = """Run the main job: plan, launch, load, record, summarise.

Examples:

  moeserve run --strategy ep --concurrency 1..128

  moeserve run --engine vllm --model Qwen/Qwen1.5-MoE-A2.7B-Chat --strategy tp,ep -o out

  moeserve run --endpoint http://127.0.0.1:8000 --workload 128:128:auto -c 32

The same command again does only what is missing.
"""
PLAN_EXAMPLES = """Show what `run` would do with the same flags: servers, runs, GPUs; start nothing.

The GPUs that are named need not be here.

Examples:

  moeserve plan --model mixtral --strategy tp,ep --num-runs 3

  moeserve plan --engine vllm --hardware H100 --model mixtral --strategy tp,ep
"""

MOST_STATEMENTS = 6

ResultDir = Annotated[Path | None, result_dir_option("NAME-HASH")]


def add_to(app: typer.Typer) -> None:
    app.command("run", help=RUN_EXAMPLES)(run)
    app.command("plan", help=PLAN_EXAMPLES)(plan)


@with_experiment
def run(
    flags: ExperimentFlags,
    experiment: ExperimentArgument = None,
    result_dir: ResultDir = None,
    fresh: FreshOption = False,
    redo: RedoOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As moeserve plan.")] = False,
    live: Annotated[
        int | None, typer.Option("--live", help="Port of a page that shows the study as it runs.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the report here at the end (.html).")
    ] = None,
    output: FormatOption = Format.table,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    if dry_run:
        _show_plan(flags, experiment, output)
        return
    from moeserve.cli.watch import live_page
    from orchestrator.results.directory import default_directory

    if report:
        _check_report(report)
    study = _prepare(flags, experiment)
    directory = result_dir or default_directory(study.plan.experiment)
    if redo and not fresh and directory.exists():
        _redo(study, directory)
    with live_page(directory, live):
        store, stopped = asyncio.run(_run(study, directory, fresh=fresh, quiet=quiet))
    code = _summarise(study, store, output, stopped=stopped)
    if report:
        _write_report(store, report)
    raise typer.Exit(code)


def _check_report(path: Path) -> None:
    """Refuse before hours of measuring what would fail after them."""
    need_extra("run --report")
    from analysis.report.write import check_output

    check_output(path, flag="--report")


def _write_report(store: "Store", path: Path) -> None:
    from analysis.report.write import write_report

    if any(store.finished()):
        note(f"report in {write_report([store.root], path)}")
    else:
        note("no report: no run was finished")


@with_experiment
def plan(
    flags: ExperimentFlags,
    experiment: ExperimentArgument = None,
    output: FormatOption = Format.table,
) -> None:
    _show_plan(flags, experiment, output)


def _prepare(flags: ExperimentFlags, path: Path | None, *, planning: bool = False) -> "Study":
    from orchestrator.study import prepare

    study = asyncio.run(prepare(flags.experiment(path), note, planning=planning))
    if study.notice:
        note(study.notice)
    for refused in study.plan.refused:
        note(f"not run: {refused.setup.what}: {'; '.join(refused.reasons)}")
    return study


def _interrupt(stop: asyncio.Event, task: "asyncio.Task[object]") -> None:
    """Hear a signal: the first lets requests in flight end, another one does not wait for them."""
    if stop.is_set():
        note("giving up requests in flight: servers are taken down, finished runs are kept")
        task.cancel()
        return
    stop.set()
    note("stopping: requests in flight may finish, servers are taken down (again to hurry)")


def _redo(study: "Study", directory: Path) -> None:
    from orchestrator.study import redo

    count = redo(study, directory, "invalid")
    note(f"{counted(count, 'invalid run')} to be done again")


async def _run(
    study: "Study", directory: Path, *, fresh: bool, quiet: bool
) -> tuple["Store", bool]:
    """Run the study; Ctrl-C or SIGTERM once drains and cleans up, twice gives up waiting."""
    from moeserve.cli.progress import progress
    from orchestrator.results.store import Store
    from orchestrator.study import run_study

    stop, task = asyncio.Event(), asyncio.current_task()
    assert task is not None

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _interrupt, stop, task)
    done = 0 if fresh else len(study.plan.run_ids & Store(directory).finished())
    try:
        with progress(study.plan, done, quiet=quiet) as listen:
            await run_study(study, directory, listen=listen, stop=stop, fresh=fresh)
    except asyncio.CancelledError:
        pass  # the servers are down: the context managers saw to that on the way
    return Store(directory), stop.is_set()


def _summarise(study: "Study", store: "Store", output: Format, *, stopped: bool) -> int:
    """Print the run table; return the exit code."""
    from orchestrator.results.manifests import read_manifests
    from orchestrator.table import rows_of
    from perfmodel.known_error import error_note

    if study.plan.experiment.find_max:
        return _summarise_search(study, store, output, stopped=stopped)
    order = {each.run_id: number for number, each in enumerate(study.plan.as_asked)}
    records = [m.record for m in read_manifests(store.root) if m.record.run_id in order]
    records.sort(key=lambda record: order[record.run_id])
    rows = rows_of(records)
    show(in_order(rows), output, columns=SUMMARY)
    verdicts = [record.verdict for record in records]
    valid = verdicts.count("valid")
    note(f"{valid} of {counted(len(order), 'run')} valid; results in {store.root}")
    by = sorted({each.engine_version for each in records if each.provenance == SIMULATED})
    if by:
        note("simulated: these numbers come from a model of the GPU, not from one")
    for name in by:
        note(error_note(name))
    if stopped:
        note("interrupted: the same command goes on where this one stopped")
        return 130
    if records:
        _say_answer(rows, store.root, limits=bool(study.plan.experiment.goodput))
    if valid == len(order):
        return 0
    measured = any(verdict in ("valid", "invalid") for verdict in verdicts)
    return 5 if measured else 3


def _say_capacity(rows: Sequence[Row], *, fewest: int = 2) -> None:
    """Say what each server carries, if there are but a few; the report has them all."""
    from workloads.figures.capacity import statements

    found = statements(rows, fewest=fewest)
    for text in found if len(found) <= MOST_STATEMENTS else ():
        note(text)


def _say_answer(rows: Sequence[Row], results: Path, *, limits: bool) -> None:
    """Say which layout; beside several of them what each carries within limits that were given.

    A layout alone is answered by what it carries.
    """
    several = len({row.get("strategy") for row in rows}) > 1
    if (several and limits) or not (several or can_answer()):
        _say_capacity(rows)
    from orchestrator.table import run_rows

    say_answer_of(results, run_rows(results))


def _summarise_search(study: "Study", store: "Store", output: Format, *, stopped: bool) -> int:
    """Print what each search found; return the exit code."""
    from orchestrator.results.manifests import read_manifests
    from orchestrator.run.capacity_search import search_rows
    from orchestrator.table import rows_of

    records = {m.record.run_id: m.record for m in read_manifests(store.root) if m.files}
    rows = list(search_rows(study.plan, records))
    show(rows, output)
    _say_capacity(rows_of(records.values()), fewest=1)
    note(f"{counted(len(records), 'run')}; results in {store.root}")
    for line in search_answers(rows):
        note(line)
    if stopped:
        note("interrupted: the same command goes on where this one stopped")
        return 130
    return 0 if all(row["complete"] for row in rows) else 5


def _show_plan(flags: ExperimentFlags, path: Path | None, output: Format) -> None:
    from orchestrator.preview import expected_makespan_s, preview

    study = _prepare(flags, path, planning=True)
    rows: list[Row] = list(preview(study))
    show(rows, output)
    makespan_s = expected_makespan_s(study)
    when = "time unknown" if makespan_s is None else f"about {makespan_s:,.0f} s expected"
    nodes = sum(bool(node.gpus) for node in study.nodes) or len(study.nodes)
    on = f" on {nodes} nodes" if nodes > 1 else ""
    runs, servers = counted(len(study.plan.runs), "run"), counted(len(study.plan.groups), "server")
    note(f"{runs} on {servers}{on}, {when}")
