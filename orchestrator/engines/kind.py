"""One record an engine: what depends on the engine is asked of its record."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from catalog.errors import BadValue
from catalog.models import Kind, Model
from orchestrator.engine import Engine, LaunchContext
from orchestrator.engines.checks import violations
from orchestrator.experiment.cells import Run, Setup
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.devices import Device
from orchestrator.host.requirements import Requirement
from orchestrator.results.record import MEASURED, SIMULATED, Provenance
from strategies import Technique

Devices = Literal["none", "one", "layout"]
Tell = Callable[[str], None]
START_S = 120.0
"""An allowance for a server to be ready: loading, compiling, capturing graphs."""


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """What starts a server."""

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()
    """Of this host, the only ones that it may run on; all where there are none."""


@dataclass(frozen=True, slots=True)
class RunningModel:
    """What a server that already runs is called in the rows, and who it says it is."""

    name: str
    identity: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """What an engine is asked to do, before anything is started."""

    experiment: Experiment
    models: Mapping[str, Model]
    setups: tuple[Setup, ...]
    found: tuple[Device, ...] = ()
    """The GPUs that its servers would get."""

    @property
    def techniques(self) -> tuple[Technique, ...]:
        return tuple(dict.fromkeys(setup.technique for setup in self.setups))


@dataclass(frozen=True, slots=True)
class Cpu:
    """Whether an engine's servers compute on the CPU where they are given no GPU."""

    able: bool | None = True
    """None where that is not known."""
    only: bool = False
    """Whether they leave a GPU alone."""
    missing: bool = False
    """Whether there is nothing here to start."""
    told: str = ""
    """The build that is here, or why it is not able."""


def unknown_seconds(_group: ServerGroup, runs: Iterable[Run], _model: Model) -> list[float | None]:
    """Expect nothing: how long such a server is measured is not known beforehand."""
    return [None for _ in runs]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """An engine as plan, preview, serve, quality, Ray, Slurm and doctor know it.

    Its module is imported for every plan, so it imports nothing heavy; `build` does.
    """

    name: str
    build: Callable[[], Engine]
    """Returns what opens sessions; MissingExtra where its libraries are not here."""
    check: Callable[[Request], None] = lambda _: None
    """Raises BadValue for what the engine cannot do for any setup, MissingExtra for what lacks."""
    violations: Callable[[Setup, Model, int], tuple[str, ...]] = violations
    """Why a setup cannot serve a model and its longest sequence in tokens; empty when it can."""
    command: Callable[[ServerGroup, LaunchContext, int, str], ServerCommand] | None = None
    """The server's command for a port and a served name; None where moeserve starts no process."""
    check_host: Callable[[Experiment], None] = lambda _: None
    """Raises ServerStartFailed where this host cannot start any of its servers; called once."""
    prepare: Callable[[ServerGroup, LaunchContext], None] = lambda *_: None
    """Makes what the command needs; ServerStartFailed where its program is not here."""
    run_seconds: Callable[[ServerGroup, Iterable[Run], Model], list[float | None]] = unknown_seconds
    """How long each run is expected to take; None where that is not known."""
    start_s: float = START_S
    devices: Devices = "layout"
    """GPUs of this host that a server is given: none, one at most, or all that its layout needs."""
    cpu: Callable[[Experiment], Cpu] = lambda _: Cpu()
    """Whether its servers compute on the CPU."""
    hardware: str | None = None
    """The GPU of a setup that names none; None is the one that is found, or CPU."""
    every_layout: tuple[str, ...] = ("all",)
    """What the strategy `all` stands for."""
    virtual: bool = False
    """Whether it runs in virtual time: nothing is loaded, and its numbers are simulated."""
    counted: bool = False
    """Whether it needs the sizes of a model: one that cannot be counted is refused."""
    spans_nodes: bool = False
    """Whether a server can be started in parts on several nodes, and listen beyond loopback."""
    in_an_image: bool = False
    """Whether its server is a program that a stock image holds, moeserve staying outside."""
    running_model: Callable[[Experiment, Tell], Awaitable[RunningModel]] | None = None
    """Asks a server that already runs; None where moeserve starts the server."""
    reports_experts: bool = False
    """Whether its answers can say which experts each token went to."""
    no_quality: str = ""
    """Why it cannot be asked how well it predicts a text; empty where it can."""
    requirements: Callable[[], Iterable[Requirement]] = tuple
    """What it needs of this machine, for `moeserve doctor`."""

    @property
    def provenance(self) -> Provenance:
        """Of its numbers, before a session has said it."""
        return SIMULATED if self.virtual else MEASURED

    @property
    def on_nodes(self) -> bool:
        """Whether a scheduler's GPUs on several nodes can be handed to it."""
        return self.virtual or self.devices == "layout"


def refuse_kind(request: Request, engine: str, decodes: Kind, instead: str) -> None:
    """Raise BadValue for a model that does not decode as the engine does."""
    for model in request.models.values():
        if model.kind != decodes:
            raise BadValue(f"--engine {engine}", model.name, instead)
