"""The plan: server groups in randomised blocks, and what was refused before anything starts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from catalog.errors import BadValue, Infeasible
from catalog.hardware_table import GPUS
from catalog.models import Model
from orchestrator.cells import Run, Setup, cells_of, models_of, served_model, setups, techniques_of
from orchestrator.devices import Device
from orchestrator.diffusion_plan import check_diffusion, one_device
from orchestrator.experiment import ON_THIS_HOST, Experiment
from orchestrator.llamacpp_plan import check_llamacpp, llamacpp_misfits
from orchestrator.served import (
    memory_misfits,
    refuse_without_kernel,
    stored_model,
    variant_misfits,
)
from orchestrator.transformers_plan import check_transformers, one_device_only
from strategies import Layout
from strategies.feasible import misfits
from workloads.profiles import parse_workload

DEFAULT_HARDWARE = "A100-80GB"
LONGEST_NAME = 120


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs of other machines, on which the servers of a plan will run."""

    hardware: str
    """Of a setup that names none."""
    gpus_per_node: Mapping[str, int] = field(default_factory=dict)
    """By hardware; a server must fit one node. Unknown where a name is missing."""


@dataclass(frozen=True, slots=True)
class ServerGroup:
    """One server start and all it serves, in the order it serves them."""

    setup: Setup
    replicate: int
    runs: tuple[Run, ...]

    @property
    def group_id(self) -> str:
        """A name for people and for a folder: whatever a model is called, it stays one."""
        setup = self.setup
        name = f"{setup.model}.{setup.strategy or 'endpoint'}.{setup.technique}.r{self.replicate}"
        return re.sub(r"[^A-Za-z0-9._+=-]", "_", name)[:LONGEST_NAME].lstrip(".-")

    @property
    def num_gpus(self) -> int | None:
        return self.setup.layout.num_gpus if self.setup.layout else None


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
        cells = [cell for setup in self.setups for cell in cells_of(self.experiment, setup)]
        return tuple(Run(cell, r) for cell in cells for r in range(self.experiment.num_runs))


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

    A layout that cannot carry any of the models asked for is bad input. One that does not fit
    some model, or the memory, or the GPUs at hand is refused with its reason and the rest goes
    on; nothing left is Infeasible.
    """
    techniques_of(experiment, engine)  # refuses, before any model is looked up
    if experiment.expert_load and engine not in ("vllm", "endpoint"):
        raise BadValue("--expert-load", "on", f"--engine vllm or --endpoint, not {engine}")
    if experiment.noise and engine != "simulated":
        raise BadValue("--noise", experiment.noise, "0: only --engine simulated has noise to add")
    models = {served: served_model(served)} if served else models_of(experiment)
    check_diffusion(experiment, engine, models, found)
    check_transformers(experiment, engine, models)
    check_llamacpp(experiment, engine, models)
    wanted = tuple(setups(experiment, engine, models, here=_hardware_here(engine, found, pool)))
    if pool is None:
        _check_hardware(wanted, found)
    gpus_here = pool.gpus_per_node if pool else _gpus_here(wanted, found)
    for setup in wanted:
        refuse_without_kernel(setup)
    _check_layouts(wanted, models)
    workloads = [parse_workload(text) for text in experiment.workloads]
    longest = max(workload.input_len + workload.output_len for workload in workloads)
    reasons = {setup: _reasons(setup, models[setup.model], longest, gpus_here) for setup in wanted}
    feasible = tuple(setup for setup in wanted if not reasons[setup])
    refused = tuple(Refused(setup, why) for setup, why in reasons.items() if why)
    if not feasible:
        told = "; ".join(f"{r.setup.what}: {r.reasons[0]}" for r in refused)
        raise Infeasible(f"nothing fits: {told}")
    return Plan(experiment, models, feasible, _blocks(experiment, feasible), refused)


def _gpus_here(wanted: tuple[Setup, ...], found: tuple[Device, ...]) -> dict[str, int]:
    return {setup.hardware: len(found) for setup in wanted} if found else {}


def _hardware_here(engine: str, found: tuple[Device, ...], pool: Pool | None) -> str:
    if pool is not None and engine == "vllm":
        return pool.hardware
    if engine == "simulated":
        return DEFAULT_HARDWARE
    if engine == "endpoint":
        return ""
    return found[0].gpu_type if found else "CPU"


def _check_hardware(wanted: tuple[Setup, ...], found: tuple[Device, ...]) -> None:
    """Refuse a real run whose GPUs are not the ones that were named."""
    for setup in wanted:
        here = found[0].gpu_type if found else "CPU"
        if setup.engine in ON_THIS_HOST and setup.hardware != here:
            raise BadValue("--hardware", setup.hardware, f"what is here: {here}")


def _check_layouts(wanted: tuple[Setup, ...], models: Mapping[str, Model]) -> None:
    by_layout: dict[Layout, list[tuple[str, ...]]] = {}
    for setup in wanted:
        if setup.layout and not setup.endpoint:
            by_layout.setdefault(setup.layout, []).append(
                misfits(setup.layout, stored_model(setup, models[setup.model]))
            )
    for layout, found in by_layout.items():
        if all(found):
            raise BadValue("strategy", layout.name, f"a layout that fits the model: {found[0][0]}")


def _reasons(
    setup: Setup, model: Model, longest: int, gpus_here: Mapping[str, int]
) -> tuple[str, ...]:
    layout = setup.layout
    if layout is None or setup.endpoint:
        return ()
    if setup.engine == "transformers" and one_device_only(layout):
        return one_device_only(layout)
    if setup.engine == "diffusion":
        return one_device(layout)
    if setup.engine == "llamacpp":
        return llamacpp_misfits(setup)
    reasons = [*variant_misfits(setup, model), *misfits(layout, stored_model(setup, model))]
    on_one_node = gpus_here.get(setup.hardware)
    if on_one_node is not None and layout.num_gpus > on_one_node:
        reasons.append(f"needs {layout.num_gpus} GPUs, {on_one_node} here")
    return (*reasons, *_memory(setup, model, longest))


def _memory(setup: Setup, model: Model, longest: int) -> tuple[str, ...]:
    """Check weights and one longest sequence against a GPU the catalog knows."""
    if setup.hardware not in GPUS or setup.hardware == "CPU":
        return ()
    return memory_misfits(setup, model, GPUS[setup.hardware], longest)


def _blocks(experiment: Experiment, feasible: tuple[Setup, ...]) -> tuple[ServerGroup, ...]:
    """Randomised complete blocks: each replicate starts every server once, in its own order."""
    groups = []
    for replicate in range(experiment.num_runs):
        rng = np.random.default_rng([experiment.seed, replicate])
        for index in rng.permutation(len(feasible)):
            setup = feasible[index]
            cells = cells_of(experiment, setup)
            runs = tuple(Run(cells[i], replicate) for i in rng.permutation(len(cells)))
            groups.append(ServerGroup(setup, replicate, runs))
    return tuple(groups)
