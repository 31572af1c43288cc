"""A study on a Ray cluster: planned for its nodes, run on them, recorded here."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from catalog.errors import BadValue, UnknownName
from orchestrator.cluster.access import ClusterAccess, check_access, check_installed
from orchestrator.cluster.connection import HeadMonitor, alive_nodes, connected
from orchestrator.cluster.dispatch import GroupScheduler, PendingGroup
from orchestrator.cluster.engine import RayEngine
from orchestrator.cluster.head import started_head
from orchestrator.cluster.makespan import GroupTask, predicted_s
from orchestrator.cluster.node_pool import NodePool
from orchestrator.cluster.resources import only_feasible, resource_request
from orchestrator.cluster.runtime_env import nodes_without_source, runtime_env
from orchestrator.cluster.stale_actors import kill_stale_actors, namespace_of
from orchestrator.engines.kind import EngineKind
from orchestrator.engines.registry import engine_kind, engine_kinds, resolve
from orchestrator.expected import expected_wall_s
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.ray_options import RayOptions
from orchestrator.experiment.server_group import Pool, ServerGroup
from orchestrator.here import look_here
from orchestrator.host.devices import Device, devices
from orchestrator.host.environment import describe
from orchestrator.host.files import write_durably
from orchestrator.host.nodes import Node, most_common_gpu
from orchestrator.plan import Study, make_plan, notices
from orchestrator.results.store import Store
from orchestrator.run.events import EventListener, Notice
from orchestrator.run.limits import RunLimits
from orchestrator.run.runner import Runner

AGENT_S = 3.0
"""An allowance for a placement, an agent's start and its end."""


async def prepare_on_cluster(experiment: Experiment) -> Study:
    """Look at the cluster's nodes and plan for them; nothing is started."""
    if experiment.endpoint:
        raise BadValue("--launcher", "ray", "local: --endpoint names a server that already runs")
    check_installed()
    local = experiment.ray.address is None
    nodes = (_this_host(devices()),) if local else (await check_access(experiment.ray)).nodes
    kind, notice = resolve(experiment, gpus=any(node.gpus for node in nodes))
    if local and kind.devices == "layout":
        nodes = (_this_host(look_here(experiment, kind).devices),)
    _check(experiment, kind, nodes)
    pool = Pool(usual_gpu(experiment, nodes) if kind.devices == "layout" else "")
    plan = make_plan(experiment, kind.name, pool=pool)
    plan = only_feasible(plan, nodes, experiment.ray)
    told = "\n".join(filter(None, (_unused_address() if local else "", notice)))
    return Study(plan, kind.name, notices(told, plan), (), nodes)


def _unused_address() -> str:
    """Say that a variable of Ray's own is not followed: it may be of anybody's cluster."""
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return ""
    way = "--ray-address HOST:PORT names a cluster"
    return f"RAY_ADDRESS={address} is not followed, and Ray starts on this host alone: {way}"


def usual_gpu(experiment: Experiment, nodes: tuple[Node, ...]) -> str:
    """Return the GPU of setups that name none; BadValue where Ray has no name for any."""
    found = most_common_gpu(nodes)
    if found == "CPU" and experiment.hardware is None and any(node.gpus for node in nodes):
        allowed = "the name that nvidia-smi gives the cluster's GPUs: Ray does not tell it"
        raise BadValue("--hardware", "nothing", allowed)
    return found


def _check(experiment: Experiment, kind: EngineKind, nodes: tuple[Node, ...]) -> None:
    """Refuse an engine that does not run on Ray's GPUs, and a client on an unknown node."""
    if not kind.on_nodes and any(node.gpus for node in nodes):
        able = ", ".join(each.name for each in engine_kinds() if each.on_nodes)
        raise BadValue("--engine", kind.name, f"on the GPUs of a Ray cluster: {able}")
    where = experiment.ray.client_on
    known = {"server", "driver", *(each for node in nodes for each in (node.name, node.address))}
    if experiment.ray.address is not None and where not in known:
        raise UnknownName("node", where, known)
    if (named := [node for node in nodes if where in (node.name, node.address)]) and named[1:]:
        allowed = f"one node; {len(named)} are called that: {', '.join(n.address for n in named)}"
        raise BadValue("--client-on", where, allowed)


def _this_host(found: Sequence[Device]) -> Node:
    accelerator_type = found[0].gpu_type if found else ""
    return Node(
        "here",
        socket.gethostname(),
        "127.0.0.1",
        gpus=len(found),
        accelerator_type=accelerator_type,
        recorded=True,
    )


def makespan_s(study: Study, groups: tuple[ServerGroup, ...] | None = None) -> float | None:
    """Predict how long groups take together; None where one of them is unknown."""
    experiment, tasks = study.plan.experiment, []
    for group in study.plan.groups if groups is None else groups:
        seconds = expected_wall_s(study.plan, group)
        if seconds is None:
            return None
        request = resource_request(group.setup, study.nodes, experiment.ray)
        tasks.append(GroupTask(group.replicate, request, AGENT_S + seconds))
    return predicted_s(tasks, study.nodes, share=experiment.ray.share_nodes)


async def run_on_cluster(
    study: Study, store: Store, *, listen: EventListener, stop: asyncio.Event
) -> None:
    """Run what is missing on the cluster that the study names, or on one of our own."""
    async with _cluster(study.plan.experiment.ray) as access:
        await run_with_access(study, store, access, listen=listen, stop=stop)


async def run_with_access(
    study: Study,
    store: Store,
    access: ClusterAccess,
    *,
    listen: EventListener,
    stop: asyncio.Event,
    limits: RunLimits | None = None,
) -> None:
    """Run what is missing on a cluster whose access has been checked."""
    namespace = namespace_of(store.root)
    with _connected_driver(access, namespace, listen):
        if stale := await asyncio.to_thread(kill_stale_actors, namespace):
            listen(Notice(f"ended {stale} agents that an earlier driver had left"))
        nodes = tuple(await asyncio.to_thread(alive_nodes))
        pool = NodePool(nodes, share=study.plan.experiment.ray.share_nodes)
        engine = RayEngine(engine_kind(study.engine), namespace, pool, store.keep_environment)
        runner = Runner(
            plan=study.plan,
            engine=engine,
            store=store,
            environment=store.keep_environment(describe()),
            listen=listen,
            stop=stop,
            limits=limits or RunLimits(),
        )
        await _schedule(replace(study, nodes=nodes), runner, engine, HeadMonitor(access.address))


@contextlib.asynccontextmanager
async def _cluster(options: RayOptions) -> AsyncIterator[ClusterAccess]:
    if options.address is not None:
        yield await check_access(options)
        return
    async with started_head() as access:
        yield access


@contextlib.contextmanager
def _connected_driver(
    access: ClusterAccess, namespace: str, listen: EventListener
) -> Iterator[None]:
    """Connect, with this source in the runtime environment unless every node has the same."""
    with connected(access, namespace=namespace):
        lacking = nodes_without_source(alive_nodes())
        if not lacking:
            yield
            return
    names = ", ".join(node.name for node in lacking)
    listen(Notice(f"moeserve as it is here travels to the nodes: missing or different on {names}"))
    with connected(access, namespace=namespace, runtime_env=runtime_env()):
        yield


async def _schedule(study: Study, runner: Runner, engine: RayEngine, head: HeadMonitor) -> None:
    experiment = study.plan.experiment
    groups = tuple(group for group in study.plan.groups if runner.missing(group))
    pending = [
        PendingGroup(
            group,
            resource_request(group.setup, study.nodes, experiment.ray),
            expected_wall_s(study.plan, group),
            starts_left=1 + experiment.retries,
        )
        for group in groups
    ]
    scheduler = GroupScheduler(runner, engine, pending, head)
    try:
        await scheduler.run()
    finally:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        path = runner.store.root / "ray" / f"schedule-{stamp}.json"
        schedule = scheduler.schedule(makespan_s(study, groups))
        write_durably(path, msgspec.json.format(msgspec.json.encode(schedule)))
