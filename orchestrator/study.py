"""An experiment from its description to its results directory."""

import asyncio
import contextlib
import errno
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import StorageError
from orchestrator.cells import techniques_of
from orchestrator.cluster.nodes import Node
from orchestrator.devices import Device, devices
from orchestrator.engines.registry import engine, resolve
from orchestrator.environment import describe
from orchestrator.events import Listener
from orchestrator.experiment import DEFAULT_MODEL, NOT_STUDIED, ON_THIS_HOST, Experiment
from orchestrator.find import check_searchable
from orchestrator.plan import Plan, make_plan
from orchestrator.room import check_room
from orchestrator.run import Runner
from orchestrator.store import Store, fresh_directory

LISTS = ("strategies", "techniques")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class Study:
    """A plan and what it was made for: nothing has been started or written yet."""

    plan: Plan
    engine: str
    notice: str
    devices: tuple[Device, ...]
    nodes: tuple[Node, ...] = ()
    """Of the cluster whose launcher is asked for."""


async def prepare(experiment: Experiment) -> Study:
    """Choose the engine, ask a running server what it is, look at the GPUs, and plan."""
    check_searchable(experiment)
    if experiment.launcher == "ray":
        from orchestrator.cluster.launch import prepare_on_cluster

        return await prepare_on_cluster(experiment)
    name, notice = resolve(experiment)
    techniques_of(experiment, name)  # refuses, before a running server is asked
    served = await _served(experiment) if name == "endpoint" else ""
    found = devices() if name in ON_THIS_HOST else ()
    plan = make_plan(experiment, name, found=found, served=served)
    return Study(plan, name, notice, found)


async def environment_of(study: Study) -> dict[str, Any]:
    """Describe the machine and, where a client will be used, what that client is capable of."""
    described = describe()
    if study.engine != "simulated":
        from workloads.calibration import calibrate

        described["client"] = msgspec.to_builtins(await calibrate())
    return described


async def _served(experiment: Experiment) -> str:
    """Name the model of a running server: as the user does, else as the server itself does."""
    from orchestrator.engines.running import inspect

    found = await inspect(experiment)
    named = experiment.models != (DEFAULT_MODEL,)
    return experiment.models[0] if named else found.served_name


def default_directory(experiment: Experiment) -> Path:
    """Name a directory after what is studied: the same command finds its own results again.

    What is left at its default is no part of the name, so that a new setting renames nothing. An
    earlier version named a directory after lists as they were typed: where it is, it is found.
    """
    typed: list[tuple[str, ...]] = [(), *combinations(LISTS, 1), LISTS]
    paths = [_named_directory(experiment, joined) for joined in typed]
    return next((path for path in paths if path.exists()), paths[0])


def _named_directory(experiment: Experiment, joined: tuple[str, ...]) -> Path:
    """Name it with these lists of names as one text each."""
    studied = msgspec.structs.replace(experiment, num_runs=1)
    given, usual = msgspec.to_builtins(studied), msgspec.to_builtins(Experiment())
    named = {k: v for k, v in given.items() if v != usual[k] and k not in NOT_STUDIED}
    named |= {k: [",".join(named[k])] for k in joined if k in named}
    digest = hashlib.sha256(msgspec.json.encode(named, order="deterministic")).hexdigest()
    return Path("results") / f"{experiment.name}-{digest[:8]}"


async def run_study(
    study: Study,
    directory: Path,
    *,
    listen: Listener,
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
    finished = store.finished()
    check_room(directory, (run for run in study.plan.runs if run.run_id not in finished))
    stop = stop or asyncio.Event()
    with storage_errors(directory), store.locked():
        if study.plan.experiment.launcher == "ray":
            from orchestrator.cluster.launch import run_on_cluster

            await run_on_cluster(study, store, listen=listen, stop=stop)
            return store
        runner = Runner(
            plan=study.plan,
            engine=engine(study.engine),
            store=store,
            environment=store.keep_environment(await environment_of(study)),
            listen=listen,
            stop=stop,
            gpus=tuple(str(device.index) for device in study.devices) or None,
        )
        await runner.run()
    return store


@contextlib.contextmanager
def storage_errors(directory: Path) -> Iterator[None]:
    """Say a full or failing disk as what it is, with what is safe and what to do."""
    try:
        yield
    except OSError as error:
        code = "DISK_FULL" if error.errno in FULL else "STORAGE_FAILED"
        if error.errno == errno.EPERM:
            raise StorageError(
                f"{code}: {directory} is on a file system with no hard links, by which a run is "
                "published once and whole; give another directory with -o"
            ) from error
        raise StorageError(
            f"{code}: {error.strerror or error} while writing to {directory}; what was published "
            "is intact, and the same command goes on where this one stopped"
        ) from error
