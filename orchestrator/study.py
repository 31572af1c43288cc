"""An experiment from its description to its results directory."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from orchestrator.engines.endpoint.access import plain_key
from orchestrator.engines.kind import Tell
from orchestrator.engines.registry import engine_kind, resolve
from orchestrator.experiment.experiment import Experiment
from orchestrator.here import look_here
from orchestrator.host.environment import describe
from orchestrator.plan import Study, make_plan, notices
from orchestrator.results.disk_space import check_disk_space, storage_errors
from orchestrator.results.planned import keep_planned
from orchestrator.results.record import Verdict
from orchestrator.results.store import Store, fresh_directory
from orchestrator.run.capacity_search import check_searchable
from orchestrator.run.continuity import refuse_other_server
from orchestrator.run.events import EventListener
from orchestrator.run.runner import Runner


async def prepare(
    experiment: Experiment, tell: Tell = lambda _: None, *, planning: bool = False
) -> Study:
    """Choose the engine, ask a running server what it is, look at the GPUs, and plan.

    `tell` hears what is waited for. With `planning` the GPUs that are named may be elsewhere: such
    a study is not run here.
    """
    check_searchable(experiment)
    if experiment.launcher == "ray":
        from orchestrator.cluster.launch import prepare_on_cluster

        return await prepare_on_cluster(experiment)
    kind, notice = resolve(experiment)
    running = await kind.running_model(experiment, tell) if kind.running_model else None
    served, identity = (running.name, running.identity) if running else ("", None)
    here = look_here(experiment, kind, planning=planning)
    plan = make_plan(experiment, kind.name, found=here.devices, served=served, pool=here.elsewhere)
    told = filter(None, (notices(notice, plan), here.notice, plain_key(experiment)))
    return Study(plan, kind.name, "\n".join(told), here.devices, identity=identity)


async def environment_of(study: Study) -> dict[str, Any]:
    """Describe the machine and, where a client will be used, what that client is capable of."""
    described = describe()
    if not engine_kind(study.engine).virtual:
        from workloads.client.calibration import calibrate

        described["client"] = msgspec.to_builtins(await calibrate())
    return described


def redo(study: Study, directory: Path, verdict: Verdict) -> int:
    """Let the next run of the study do those with a verdict again; return how many that are."""
    store = Store(directory)
    store.create(study.plan.experiment)
    with storage_errors(directory), store.locked():
        return len(store.set_aside(verdict))


async def run_study(
    study: Study,
    directory: Path,
    *,
    listen: EventListener,
    stop: asyncio.Event | None = None,
    fresh: bool = False,
) -> Store:
    """Do what is missing in the directory; every finished run is on disk before the next begins."""
    if fresh:
        fresh_directory(directory)
    store = Store(directory)
    store.create(study.plan.experiment)
    if not study.plan.experiment.find_max and study.plan.run_ids <= store.finished():
        return store  # nothing is missing: no look at the machine, no calibration
    if not study.plan.experiment.find_max:  # how many runs a search takes nobody knows
        with storage_errors(directory):
            keep_planned(directory, study.plan.runs)
    if study.plan.experiment.launcher != "ray":  # there each node looks for itself
        engine_kind(study.engine).check_host(study.plan.experiment)
    if study.identity is not None:
        refuse_other_server(directory, study.identity)
    finished = store.finished()
    check_disk_space(directory, (run for run in study.plan.runs if run.run_id not in finished))
    stop = stop or asyncio.Event()
    with storage_errors(directory), store.locked():
        if study.plan.experiment.launcher == "ray":
            from orchestrator.cluster.launch import run_on_cluster

            await run_on_cluster(study, store, listen=listen, stop=stop)
            return store
        runner = Runner(
            plan=study.plan,
            engine=engine_kind(study.engine).build(),
            store=store,
            environment=store.keep_environment(await environment_of(study)),
            listen=listen,
            stop=stop,
            gpus=tuple(device.visible_as for device in study.devices) or None,
        )
        await runner.run()
    return store
