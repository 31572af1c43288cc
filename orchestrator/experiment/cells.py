"""An experiment expanded into cells: everything that is measured, with an id from its content."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import msgspec
import numpy as np

from catalog.errors import BadValue, InputError
from catalog.from_hf import load_model, read_model
from catalog.hardware import Gpu
from catalog.hardware_table import GPUS
from catalog.models import Model
from catalog.reader.notes import stand_in
from orchestrator.experiment.asked import workloads_of
from orchestrator.experiment.experiment import DEFAULT_CONCURRENCY, Experiment
from orchestrator.experiment.hardware import gpus_of, hardware_of, own_gpu_of
from orchestrator.experiment.recorded import refuse_unused
from strategies import Layout, Technique, parse_layouts, parse_techniques
from strategies.engine_support import refuse_unable
from workloads.load.concurrency import parse_levels
from workloads.load.draw import shares
from workloads.load.workload import StoredWorkload, Workload

AS_SERVED = "as served"
"""The strategy of a server that already runs and whose layout nobody has named."""


class LoadPoint(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Closed loop (concurrency alone), open loop (rate alone), or open loop under a cap."""

    max_concurrency: int | None
    request_rate: float | None
    """Requests per second."""
    burstiness: float | None
    """None with a rate: constant gaps, or a trace's own."""
    rate_curve: str = ""
    """Multiples of the rate over time; empty where it does not change."""


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one server is: everything that needs another start when it changes."""

    engine: str
    model: str
    layout: Layout | None
    """None for a server that already runs and whose layout the user has not named."""
    technique: Technique
    hardware: str
    server_args: tuple[str, ...]
    server_env: tuple[tuple[str, str], ...]
    endpoint: str | None
    request_form: str = ""
    """What makes the requests to a server that already runs others than usual."""
    own_gpu: Gpu | None = None
    """The user's own GPU of the name in `hardware`, which tells its numbers in ids and files."""

    @property
    def gpu(self) -> Gpu | None:
        """What is known of the hardware; None for a GPU that no row describes."""
        return self.own_gpu or GPUS.get(self.hardware)

    @property
    def own_gpus(self) -> tuple[Gpu, ...]:
        return (self.own_gpu,) if self.own_gpu else ()

    @property
    def strategy(self) -> str:
        return self.layout.name if self.layout else AS_SERVED

    @property
    def what(self) -> str:
        """The setup in a few words, for people."""
        technique = self.technique.name if self.technique.parts else ""
        return " ".join(filter(None, (self.model, self.strategy, technique)))

    @property
    def stored(self) -> "StoredSetup":
        """The same as files and ids hold it."""
        fields = {name: getattr(self, name) for name in StoredSetup.__struct_fields__}
        return StoredSetup(**fields | {"technique": self.technique.name})


class StoredSetup(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A setup as files and ids hold it: the technique is its name."""

    engine: str
    model: str
    layout: Layout | None
    technique: str
    hardware: str
    server_args: tuple[str, ...]
    server_env: tuple[tuple[str, str], ...]
    endpoint: str | None
    request_form: str = ""

    @property
    def strategy(self) -> str:
        return self.layout.name if self.layout else AS_SERVED


class Cell(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured condition; replicates of it differ only in their seed."""

    setup: Setup
    workload: Workload
    load: LoadPoint
    num_prompts: int
    seed: int

    @property
    def cell_id(self) -> str:
        """First 16 hex digits of the SHA-256 of the canonical JSON of this cell."""
        canonical = msgspec.json.encode(_stored(self), order="deterministic")
        return hashlib.sha256(canonical).hexdigest()[:16]

    def traffic_rng(self, replicate: int) -> np.random.Generator:
        """Prompts and arrivals: new for each cell and replicate, the same across strategies.

        So whatever a layout or technique changes is measured under one and the same traffic, and
        no run finds its prompts in the cache of an earlier one.
        """
        traffic = (self.setup.model, self.workload.stored, self.load, self.num_prompts)
        key = zlib.crc32(msgspec.json.encode(traffic, order="deterministic"))
        return np.random.default_rng([self.seed, replicate, key])


class _StoredCell(msgspec.Struct, frozen=True, kw_only=True):
    setup: StoredSetup
    workload: StoredWorkload
    load: LoadPoint
    num_prompts: int
    seed: int


def _stored(cell: Cell) -> _StoredCell:
    fields = {name: getattr(cell, name) for name in cell.__struct_fields__}
    return _StoredCell(**fields | {"setup": cell.setup.stored, "workload": cell.workload.stored})


@dataclass(frozen=True, slots=True)
class Run:
    """One replicate of a cell, and the block it is measured in."""

    cell: Cell
    replicate: int

    @property
    def run_id(self) -> str:
        return f"{self.cell.cell_id}-r{self.replicate}"


def models_of(experiment: Experiment, *, counted: bool) -> dict[str, Model]:
    """Load every model asked for, by its catalog name.

    NotCounted where it must be `counted` and is not; real servers serve what they can.
    """
    load = load_model if counted else read_model
    return {model.name: model for model in map(load, experiment.models)}


def served_model(name: str) -> Model:
    """Return the model a running server says it serves, or a stand-in with a vocabulary alone."""
    try:
        return read_model(name)
    except InputError:
        why = "unknown to the catalog: its prompts use the first ids of any vocabulary"
        return stand_in(name, why, source=why)


def layouts_of(experiment: Experiment, every: Sequence[str]) -> tuple[Layout | None, ...]:
    """Return the layouts asked for; `every` is what `all` stands for on the engine."""
    if experiment.strategies != ("all",):
        return parse_layouts(experiment.strategies, gpus=experiment.gpus)
    return (None,) if experiment.endpoint else parse_layouts(every, gpus=experiment.gpus)


def techniques_of(experiment: Experiment, engine: str) -> tuple[Technique, ...]:
    """Return the techniques asked for, or refuse the first that the engine cannot do."""
    techniques = parse_techniques(experiment.techniques)
    for technique in techniques:
        refuse_unable(technique, engine)
    return techniques


def load_points(experiment: Experiment, workload: Workload | None = None) -> tuple[LoadPoint, ...]:
    """Every level of concurrency, or every rate under every cap that was given.

    Where neither is given, a trace is replayed at the rate at which it was recorded.
    """
    given, rates = experiment.concurrency, experiment.request_rates
    own_rate = workload.rate_per_s if workload else None
    if workload:
        refuse_unused(experiment, workload)
    if not rates and not given and own_rate is not None:
        rates = (own_rate,)
    if not rates:
        return tuple(
            LoadPoint(max_concurrency=level, request_rate=None, burstiness=None)
            for level in parse_levels(given or DEFAULT_CONCURRENCY)
        )
    rates = tuple(dict.fromkeys(rates))
    caps: tuple[int | None, ...] = parse_levels(given) if given else (None,)
    shape = None if experiment.burstiness == "constant" else experiment.burstiness
    if own_rate is not None:
        shape = None  # its gaps are its own, stretched to the rate
    return tuple(
        LoadPoint(
            max_concurrency=cap,
            request_rate=rate,
            burstiness=shape,
            rate_curve=experiment.rate_curve or "",
        )
        for rate, cap in product(rates, caps)
    )


def setups(
    experiment: Experiment,
    engine: str,
    models: Mapping[str, Model],
    techniques: Sequence[Technique],
    *,
    every_layout: Sequence[str],
    here: str,
) -> Iterator[Setup]:
    """Yield every server the experiment needs, in the order asked.

    `techniques` are those asked for; `every_layout` is what the strategy `all` stands for on the
    engine; `here` is the GPU of a setup that names none: what was found, or what is simulated.
    """
    layouts = layouts_of(experiment, every_layout)
    own = gpus_of(experiment.own_gpus)
    for model, layout, technique in product(models, layouts, techniques):
        hardware = hardware_of(experiment.hardware, layout, here=here, own=own)
        yield Setup(
            engine=engine,
            model=model,
            layout=layout,
            technique=technique,
            hardware=hardware,
            own_gpu=own_gpu_of(hardware, own),
            server_args=experiment.server.args,
            server_env=tuple(sorted(experiment.server.env.items())),
            endpoint=experiment.endpoint,
            request_form=experiment.endpoint_options.form,
        )


def cells_of(experiment: Experiment, setup: Setup) -> tuple[Cell, ...]:
    """Return what is measured on one server: every workload under every load."""
    return tuple(
        Cell(
            setup=setup,
            workload=workload,
            load=load,
            num_prompts=_some_of_each(workload, _num_prompts(experiment, workload, load)),
            seed=experiment.seed,
        )
        for workload in workloads_of(experiment, setup.model)
        for load in load_points(experiment, workload)
    )


def _some_of_each(workload: Workload, count: int) -> int:
    """Return a number of prompts, or refuse one that has none for some class of a mix."""
    for part, share in zip(workload.parts, shares(workload, count), strict=False):
        if not share:
            fewest = workload.fewest_of_each
            allowed = f"at least {fewest:,} prompts for one of {part.label} (,prompts={fewest})"
            raise BadValue("workload", f"{workload.name} with {count} prompts", allowed)
    return count


def _num_prompts(experiment: Experiment, workload: Workload, load: LoadPoint) -> int:
    if isinstance(experiment.num_prompts, int):
        if workload.available is not None and experiment.num_prompts > workload.available:
            allowed = f"at most the {workload.available:,} requests of {workload.name}"
            raise BadValue("num_prompts", experiment.num_prompts, allowed)
        return experiment.num_prompts
    if experiment.num_prompts == "auto":
        workload = msgspec.structs.replace(workload, num_prompts=None)
    return workload.prompts_for(load.max_concurrency)
