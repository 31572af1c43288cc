"""A study on a Ray cluster: planned for its nodes, run on them, recorded here."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from catalog.errors import BadValue, UnknownName
from orchestrator.cluster.access import Access, access, check_installed
from orchestrator.cluster.connection import Head, connected, living_nodes
from orchestrator.cluster.dispatch import Dispatcher, Waiting
from orchestrator.cluster.engine import RayEngine
from orchestrator.cluster.head import started_head
from orchestrator.cluster.leftovers import clean, namespace_of
from orchestrator.cluster.makespan import Piece, predicted_s
from orchestrator.cluster.need import need_of, only_feasible
from orchestrator.cluster.nodes import Node, usual_hardware
from orchestrator.cluster.options import RayOptions
from orchestrator.cluster.travel import lacking, luggage
from orchestrator.cluster.yard import Yard
from orchestrator.devices import devices
from orchestrator.environment import describe
from orchestrator.events import Listener, Notice
from orchestrator.experiment import Experiment
from orchestrator.files import write_durably
from orchestrator.gate import Gate
from orchestrator.plan import Pool, ServerGroup, make_plan
from orchestrator.preview import expected_wall_s
from orchestrator.run import Runner
from orchestrator.store import Store
from orchestrator.study import Study

AGENT_S = 3.0
"""An allowance for a placement, an agent's start and its end."""


async def prepare_on_cluster(experiment: Experiment) -> Study:
    """Look at the cluster's nodes and plan for them; nothing is started."""
    if experiment.endpoint:
        raise BadValue("--launcher", "ray", "local: --endpoint names a server that already runs")
    check_installed()
    here = experiment.ray.address is None
    nodes = (_this_host(),) if here else (await access(experiment.ray)).nodes
    name, notice = _engine(experiment, nodes)
    _check(experiment, name, nodes)
    pool = Pool(usual_hardware(nodes) if name == "vllm" else "")
    plan = make_plan(experiment, name, pool=pool)
    return Study(only_feasible(plan, nodes, experiment.ray), name, notice, (), nodes)


def _check(experiment: Experiment, name: str, nodes: tuple[Node, ...]) -> None:
    """Refuse an engine that Ray's GPUs are not handed to, and a client on a node there is not."""
    if name not in ("vllm", "simulated") and any(node.gpus for node in nodes):
        raise BadValue("--engine", name, "vllm or simulated on the GPUs of a Ray cluster")
    where = experiment.ray.client_on
    known = {"server", "driver", *(each for node in nodes for each in (node.name, node.address))}
    if experiment.ray.address is not None and where not in known:
        raise UnknownName("node", where, known)


def _engine(experiment: Experiment, nodes: tuple[Node, ...]) -> tuple[str, str]:
    if experiment.engine != "auto":
        return experiment.engine, ""
    if any(node.gpus for node in nodes):
        return "vllm", ""
    return "simulated", (
        "no GPU in the cluster: using the simulated engine. Its numbers come from a model of the "
        "GPU and are marked «simulated»; --engine vllm starts real servers"
    )


def _this_host() -> Node:
    found = devices()
    kind = found[0].gpu_type if found else ""
    return Node("here", socket.gethostname(), "127.0.0.1", gpus=len(found), kind=kind)


def makespan_s(study: Study, groups: tuple[ServerGroup, ...] | None = None) -> float | None:
    """Predict how long groups take together; None where one of them is unknown."""
    experiment, pieces = study.plan.experiment, []
    for group in study.plan.groups if groups is None else groups:
        seconds = expected_wall_s(study, group)
        if seconds is None:
            return None
        need = need_of(group.setup, study.nodes, experiment.ray)
        pieces.append(Piece(group.replicate, need, AGENT_S + seconds))
    return predicted_s(pieces, study.nodes, share=experiment.ray.share_nodes)


async def run_on_cluster(
    study: Study, store: Store, *, listen: Listener, stop: asyncio.Event
) -> None:
    """Run what is missing on the cluster that the study names, or on one of our own."""
    async with _cluster(study.plan.experiment.ray) as entered:
        await run_in(study, store, entered, listen=listen, stop=stop)


async def run_in(
    study: Study,
    store: Store,
    entered: Access,
    *,
    listen: Listener,
    stop: asyncio.Event,
    gate: Gate | None = None,
) -> None:
    """Run what is missing on a cluster that lets us in."""
    namespace = namespace_of(store.root)
    with _driver(entered, namespace, listen):
        if left := await asyncio.to_thread(clean, namespace):
            listen(Notice(f"ended {left} agents that an earlier driver had left"))
        nodes = tuple(await asyncio.to_thread(living_nodes))
        yard = Yard(nodes, share=study.plan.experiment.ray.share_nodes)
        engine = RayEngine(study.engine, namespace, yard, store.keep_environment)
        runner = Runner(
            plan=study.plan,
            engine=engine,
            store=store,
            environment=store.keep_environment(describe()),
            listen=listen,
            stop=stop,
            gate=gate or Gate(),
        )
        await _dispatch(replace(study, nodes=nodes), runner, engine, Head(entered.address))


@contextlib.asynccontextmanager
async def _cluster(options: RayOptions) -> AsyncIterator[Access]:
    if options.address is not None:
        yield await access(options)
        return
    async with started_head() as entered:
        yield entered


@contextlib.contextmanager
def _driver(entered: Access, namespace: str, listen: Listener) -> Iterator[None]:
    """Connect, with our own source in the luggage if the nodes have none or another one."""
    with connected(entered, namespace=namespace):
        without = lacking(living_nodes())
        if not without:
            yield
            return
    names = ", ".join(node.name for node in without)
    listen(Notice(f"moeserve as it is here travels to the nodes: missing or different on {names}"))
    with connected(entered, namespace=namespace, runtime_env=luggage()):
        yield


async def _dispatch(study: Study, runner: Runner, engine: RayEngine, head: Head) -> None:
    experiment = study.plan.experiment
    groups = tuple(group for group in study.plan.groups if runner.missing(group))
    waiting = [
        Waiting(
            group,
            need_of(group.setup, study.nodes, experiment.ray),
            expected_wall_s(study, group),
            starts_left=1 + experiment.retries,
        )
        for group in groups
    ]
    dispatcher = Dispatcher(runner, engine, waiting, head)
    try:
        await dispatcher.run()
    finally:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        path = runner.store.root / "ray" / f"schedule-{stamp}.json"
        schedule = dispatcher.schedule(makespan_s(study, groups))
        write_durably(path, msgspec.json.format(msgspec.json.encode(schedule)))
