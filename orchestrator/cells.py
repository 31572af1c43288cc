"""An experiment expanded into cells: everything that is measured, with an id from its content."""

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import msgspec
import numpy as np

from catalog.errors import BadValue, InputError
from catalog.from_hf import load_model
from catalog.hardware_table import gpu
from catalog.models import GroupedQueryAttention, Model
from orchestrator.experiment import DEFAULT_CONCURRENCY, ONE_DEVICE, Experiment
from strategies import Layout, Technique, parse_layout, parse_layouts, parse_techniques
from strategies.ability import refuse_unable
from workloads.concurrency import parse_levels
from workloads.profiles import Workload, parse_workload

UNKNOWN_VOCAB = 512
"""Every vocabulary in use is at least this large."""


class LoadPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Closed loop (concurrency alone), open loop (rate alone), or open loop under a cap."""

    max_concurrency: int | None
    request_rate: float | None
    """Requests per second."""
    burstiness: float | None
    """None with a rate: constant gaps."""


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one server is: everything that needs another start when it changes."""

    engine: str
    model: str
    layout: Layout | None
    """None for a server that already runs and whose layout the user has not named."""
    technique: str
    hardware: str
    server_args: tuple[str, ...]
    server_env: tuple[tuple[str, str], ...]
    endpoint: str | None

    @property
    def strategy(self) -> str:
        return self.layout.name if self.layout else ""

    @property
    def what(self) -> str:
        """The setup in a few words, for people."""
        technique = "" if self.technique == "none" else self.technique
        return " ".join(filter(None, (self.model, self.strategy, technique)))


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
        canonical = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(canonical).hexdigest()[:16]

    def traffic_rng(self, replicate: int) -> np.random.Generator:
        """Prompts and arrivals: new for each cell and replicate, the same across strategies.

        So whatever a layout or technique changes is measured under one and the same traffic, and
        no run finds its prompts in the cache of an earlier one.
        """
        traffic = (self.setup.model, self.workload, self.load, self.num_prompts)
        key = zlib.crc32(msgspec.json.encode(traffic, order="deterministic"))
        return np.random.default_rng([self.seed, replicate, key])


@dataclass(frozen=True, slots=True)
class Run:
    """One replicate of a cell, and the block it is measured in."""

    cell: Cell
    replicate: int

    @property
    def run_id(self) -> str:
        return f"{self.cell.cell_id}-r{self.replicate}"


def models_of(experiment: Experiment) -> dict[str, Model]:
    """Load every model asked for, by its catalog name."""
    return {model.name: model for model in map(load_model, experiment.models)}


def served_model(name: str) -> Model:
    """Return the model a running server says it serves, or a stand-in with a vocabulary alone."""
    try:
        return load_model(name)
    except InputError:
        attention = GroupedQueryAttention(heads=1, kv_heads=1, head_dim=1)
        return Model(
            name=name,
            hf_id=None,
            layers=1,
            hidden=1,
            vocab=UNKNOWN_VOCAB,
            attention=attention,
            experts=None,
            dense_width=1,
            tied_embeddings=True,
            max_context=0,
            source="unknown to the catalog: its prompts use the first ids of any vocabulary",
        )


def layouts_of(experiment: Experiment) -> tuple[Layout | None, ...]:
    if experiment.endpoint and experiment.strategies == ("all",):
        return (None,)
    if experiment.engine in ONE_DEVICE and experiment.strategies == ("all",):
        return parse_layouts(["single"])
    return parse_layouts(experiment.strategies, gpus=experiment.gpus)


def techniques_of(experiment: Experiment, engine: str) -> tuple[Technique, ...]:
    """Return the techniques asked for, or refuse the first that the engine cannot do."""
    techniques = parse_techniques(experiment.techniques)
    for technique in techniques:
        refuse_unable(technique, engine)
    if engine == "endpoint" and len(techniques) > 1:
        names = ", ".join(technique.name for technique in techniques)
        raise BadValue("--technique", names, "one, the one that the running server has")
    return techniques


def load_points(experiment: Experiment) -> tuple[LoadPoint, ...]:
    """Every level of concurrency, or every rate under every cap that was given."""
    given = experiment.concurrency
    if not experiment.request_rates:
        return tuple(
            LoadPoint(max_concurrency=level, request_rate=None, burstiness=None)
            for level in parse_levels(given or DEFAULT_CONCURRENCY)
        )
    caps: tuple[int | None, ...] = parse_levels(given) if given else (None,)
    shape = None if experiment.burstiness == "constant" else experiment.burstiness
    return tuple(
        LoadPoint(max_concurrency=cap, request_rate=rate, burstiness=shape)
        for rate, cap in product(experiment.request_rates, caps)
    )


def hardware_of(experiment: Experiment, layout: Layout | None) -> str | None:
    """Return the catalog's name of the GPU asked for, for this layout; None if none was named."""
    asked = experiment.hardware
    if asked is None:
        return None
    if isinstance(asked, str):
        return gpu(asked).name
    by_layout = {parse_layout(k).name: name for k, name in asked.items() if k != "default"}
    name = by_layout.get(layout.name if layout else "", asked.get("default"))
    if name is None:
        shown = layout.name if layout else "the endpoint"
        raise BadValue("hardware", asked, f"an entry for {shown}, or one named default")
    return gpu(name).name


def setups(
    experiment: Experiment, engine: str, models: Mapping[str, Model], *, here: str
) -> Iterator[Setup]:
    """Yield every server the experiment needs, in the order asked.

    `here` is the GPU of a setup that names none: what was found, or what is simulated.
    """
    techniques = techniques_of(experiment, engine)
    for model, layout, technique in product(models, layouts_of(experiment), techniques):
        yield Setup(
            engine=engine,
            model=model,
            layout=layout,
            technique=technique.name,
            hardware=hardware_of(experiment, layout) or here,
            server_args=experiment.server.args,
            server_env=tuple(sorted(experiment.server.env.items())),
            endpoint=experiment.endpoint,
        )


def cells_of(experiment: Experiment, setup: Setup) -> tuple[Cell, ...]:
    """Return what is measured on one server: every workload under every load."""
    return tuple(
        Cell(
            setup=setup,
            workload=workload,
            load=load,
            num_prompts=_num_prompts(experiment, workload, load),
            seed=experiment.seed,
        )
        for workload in dict.fromkeys(map(parse_workload, experiment.workloads))
        for load in load_points(experiment)
    )


def _num_prompts(experiment: Experiment, workload: Workload, load: LoadPoint) -> int:
    if isinstance(experiment.num_prompts, int):
        return experiment.num_prompts
    if experiment.num_prompts == "auto":
        workload = msgspec.structs.replace(workload, num_prompts=None)
    return workload.prompts_for(load.max_concurrency)
