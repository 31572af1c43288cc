"""The plan: server groups in randomised blocks, and what was refused before anything starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from catalog.errors import BadValue, Infeasible
from catalog.hardware import Gpu
from catalog.models import Model
from orchestrator.engines.checks import one_device
from orchestrator.engines.context import beyond_context, unknown_contexts
from orchestrator.engines.kind import EngineKind, Request
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.asked import (
    check_goodput,
    longest_of,
    refuse_uncounted,
    refuse_unknown_ids,
)
from orchestrator.experiment.cells import (
    Run,
    Setup,
    cells_of,
    models_of,
    served_model,
    setups,
    techniques_of,
)
from orchestrator.experiment.effective_model import stored_model
from orchestrator.experiment.endpoint_options import EndpointOptions
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.hardware import gpus_of
from orchestrator.experiment.server_group import Pool, ServerGroup
from orchestrator.host.devices import Device
from orchestrator.host.nodes import Node
from strategies.feasible import layout_violations
from strategies.own_gpus import find_gpu, unknown_note


@dataclass(frozen=True, slots=True)
class Refused:
    """A setup that is not started, and the number that fails."""

    setup: Setup
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything an experiment will do."""

    experiment: Experiment
    models: Mapping[str, Model]
    setups: tuple[Setup, ...]
    """What will be started, in the order asked."""
    groups: tuple[ServerGroup, ...]
    refused: tuple[Refused, ...] = field(default=())

    def stored(self, setup: Setup) -> Model:
        """Return the model as a setup's technique holds it in memory."""
        return stored_model(setup, self.models[setup.model])

    @property
    def runs(self) -> tuple[Run, ...]:
        return tuple(run for group in self.groups for run in group.runs)

    @property
    def run_ids(self) -> frozenset[str]:
        return frozenset(run.run_id for run in self.runs)

    @property
    def as_asked(self) -> tuple[Run, ...]:
        """The same runs in the order of the experiment, for people to read."""
        return tuple(run for setup in self.setups for run in self.asked_of(setup))

    def asked_of(self, setup: Setup) -> tuple[Run, ...]:
        """The runs of one setup in that order."""
        cells = cells_of(self.experiment, setup)
        return tuple(Run(cell, r) for cell in cells for r in range(self.experiment.num_runs))


@dataclass(frozen=True, slots=True)
class Study:
    """A plan and what it was made for: nothing has been started or written yet."""

    plan: Plan
    engine: str
    notice: str
    devices: tuple[Device, ...]
    nodes: tuple[Node, ...] = ()
    """Of the cluster whose launcher is asked for."""
    identity: Mapping[str, Any] | None = None
    """Who a server that already runs says it is."""


MOST_RUNS = 100_000


def make_plan(
    experiment: Experiment,
    engine: str,
    *,
    found: tuple[Device, ...] = (),
    served: str = "",
    pool: Pool | None = None,
) -> Plan:
    """Expand, check and order an experiment; `found` are the GPUs that real servers get.

    `served` is the model that a running server says it serves; `pool` says that the servers will
    run on other machines, so that the GPUs at hand do not matter.

    A setup whose layout cannot carry its model, or that does not fit the memory, the GPUs at hand
    or the model's context is refused with its reason and the rest goes on. Nothing left is
    Infeasible; where no layout asked for can carry its model, or none of the models takes a
    workload, it is bad input.
    """
    kind = engine_kind(engine)
    techniques = techniques_of(experiment, engine)  # refuses, before any model is looked up
    _check_options(experiment, kind)
    models = (
        {served: served_model(served)} if served else models_of(experiment, counted=kind.counted)
    )
    here = _hardware_here(kind, found, pool, gpus_of(experiment.own_gpus))
    asked = tuple(
        setups(experiment, engine, models, techniques, every_layout=kind.every_layout, here=here)
    )
    for name, model in models.items():
        refuse_unknown_ids(experiment, model)
        check_goodput(experiment, name)
    if kind.virtual:
        _check_known(asked)
        for name in models:
            refuse_uncounted(experiment, name, f"--engine {kind.name}")
    if pool is None and kind.devices != "none":
        _check_hardware(asked, here)
    kind.check(Request(experiment, models, asked, found))
    beyond = beyond_context(experiment, asked, models)
    gpus_here = pool.gpus_per_node if pool else _gpus_here(asked, found)
    reasons = {
        setup: (
            *_reasons(
                kind, setup, models[setup.model], longest_of(experiment, setup.model), gpus_here
            ),
            *beyond[setup],
        )
        for setup in asked
    }
    feasible = tuple(setup for setup in asked if not reasons[setup])
    refused = tuple(Refused(setup, why) for setup, why in reasons.items() if why)
    if not feasible:
        _check_layouts(asked, models)
        told = "; ".join(f"{r.setup.what}: {r.reasons[0]}" for r in refused)
        raise Infeasible(f"nothing fits: {told}")
    return Plan(experiment, models, feasible, _blocks(experiment, feasible), refused)


def _check_options(experiment: Experiment, kind: EngineKind) -> None:
    """Refuse settings of an experiment that the engine has no use for."""
    if experiment.expert_load and not kind.reports_experts:
        way = "vllm or transformers, or --endpoint, for where tokens go (--expert-load)"
        raise BadValue("--engine", kind.name, way)
    if not experiment.endpoint and experiment.endpoint_options != EndpointOptions():
        given = ", ".join(experiment.endpoint_options.given)
        raise BadValue("without --endpoint", given, "with --endpoint URL only")
    if experiment.noise and not kind.virtual:
        raise BadValue("--noise", experiment.noise, "0: only --engine simulated has noise to add")


def _gpus_here(asked: tuple[Setup, ...], found: tuple[Device, ...]) -> dict[str, int]:
    return {setup.hardware: len(found) for setup in asked} if found else {}


def _reasons(
    kind: EngineKind, setup: Setup, model: Model, longest: int, gpus_here: Mapping[str, int]
) -> tuple[str, ...]:
    """Say why a setup will not be started; empty when it will."""
    if kind.devices == "one" and (several := one_device(setup.layout, kind.name)):
        return several
    return (*kind.violations(setup, model, longest), *_too_few(setup, gpus_here))


def _too_few(setup: Setup, gpus_here: Mapping[str, int]) -> tuple[str, ...]:
    on_one_node = gpus_here.get(setup.hardware)
    if setup.layout is None or on_one_node is None or setup.layout.num_gpus <= on_one_node:
        return ()
    return (f"needs {setup.layout.num_gpus} GPUs, {on_one_node} here",)


def _hardware_here(
    kind: EngineKind, found: tuple[Device, ...], pool: Pool | None, own: Sequence[Gpu]
) -> str:
    if kind.hardware is not None:
        return kind.hardware
    if pool is not None and (pool.hardware or kind.devices == "layout"):
        return pool.hardware
    return found[0].known_as(own) if found else "CPU"


def _check_hardware(asked: tuple[Setup, ...], here: str) -> None:
    """Refuse a real run whose GPUs are not the ones that were named."""
    for setup in asked:
        if setup.hardware != here:
            hint = "; its row lists in driver_names what it describes" if setup.own_gpu else ""
            raise BadValue("--hardware", setup.hardware, f"what is here: {here}{hint}")


def notices(notice: str, plan: Plan) -> str:
    """Join a notice with what is left out for GPUs that no row describes."""
    named = [s.hardware for s in plan.setups if s.gpu is None and s.hardware and not s.endpoint]
    told = (notice, unknown_note(named), unknown_contexts(plan.setups, plan.models))
    return "\n".join(filter(None, told))


def _check_known(asked: tuple[Setup, ...]) -> None:
    """Refuse to estimate a GPU whose figures nobody has told."""
    for setup in asked:
        if setup.gpu is None:
            find_gpu(setup.hardware)


def _check_layouts(asked: tuple[Setup, ...], models: Mapping[str, Model]) -> None:
    """Refuse as bad input what was asked for if no model and layout in it go together."""
    found = [
        (setup.layout, layout_violations(setup.layout, stored_model(setup, models[setup.model])))
        for setup in asked
        if setup.layout and not setup.endpoint
    ]
    if found and all(why for _, why in found):
        layout, why = found[0]
        raise BadValue("strategy", layout.name, f"a layout that fits the model: {why[0]}")


def _blocks(experiment: Experiment, feasible: tuple[Setup, ...]) -> tuple[ServerGroup, ...]:
    """Randomised complete blocks: each replicate starts every server once, in its own order."""
    groups = []
    cells_by_setup = [cells_of(experiment, setup) for setup in feasible]
    count = experiment.num_runs * sum(map(len, cells_by_setup))
    if count > MOST_RUNS:
        raise BadValue("experiment", f"{count:,} runs", f"at most {MOST_RUNS:,} in one")
    for replicate in range(experiment.num_runs):
        rng = np.random.default_rng([experiment.seed, replicate])
        for index in rng.permutation(len(feasible)):
            setup, cells = feasible[index], cells_by_setup[index]
            runs = tuple(Run(cells[i], replicate) for i in rng.permutation(len(cells)))
            groups.append(ServerGroup(setup, replicate, runs))
    return tuple(groups)
