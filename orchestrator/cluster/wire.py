"""What a driver and the agents on the nodes tell each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from catalog.errors import (
    ClusterError,
    EndpointError,
    MoeserveError,
    RunFailed,
    ServerDied,
    ServerError,
    ServerStartFailed,
    ServerStartTimeout,
)
from catalog.models import Model
from orchestrator.engines.base import Measurement
from orchestrator.experiment import Experiment
from orchestrator.plan import ServerGroup
from orchestrator.record import Provenance
from workloads.session import Progress
from workloads.target import Target
from workloads.transcript import RequestRow


@dataclass(frozen=True, slots=True)
class Job:
    """One node's part of a server group."""

    engine: str
    group: ServerGroup
    experiment: Experiment
    model: Model
    use_gpus: bool
    """False for servers on the CPU and in virtual time: what Ray granted is not looked at."""
    host: str = "127.0.0.1"
    args: tuple[str, ...] = ()
    headless: bool = False
    """A part that answers nobody: it is watched, and ended with the rest."""
    stop_grace_s: float | None = None
    ray_executor: bool = False
    """Whether the server is a driver of this Ray itself, and takes its GPUs from it."""
    api_key: str | None = field(default=None, repr=False)
    target: Target | None = None
    """The server elsewhere that this agent only loads; it starts none."""


@dataclass(frozen=True, slots=True)
class StageTold:
    text: str


@dataclass(frozen=True, slots=True)
class Ready:
    """The server is proved ready."""

    provenance: Provenance
    gpu_type: str
    details: Mapping[str, Any]
    target: Target | None = None
    """Where the server answers; None in virtual time."""


@dataclass(frozen=True, slots=True)
class RowTold:
    row: RequestRow


@dataclass(frozen=True, slots=True)
class ProgressTold:
    progress: Progress


@dataclass(frozen=True, slots=True)
class Done:
    """A run is over; `files` are what it left beside its rows."""

    measurement: Measurement
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """An error on the node, as data: exceptions do not travel well."""

    kind: str
    message: str
    stage: str = ""
    log_tail: str = ""
    ends_server: bool = True


@dataclass(frozen=True, slots=True)
class LogTold:
    """A further piece of the server's log."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The server is down and nothing of it is left."""


Told = StageTold | Ready | RowTold | ProgressTold | Done | Failed | LogTold | Closed

_SERVER = {each.__name__: each for each in (
    ServerError, ServerStartFailed, ServerStartTimeout, ServerDied)}  # fmt: skip
_OTHER = {each.__name__: each for each in (ClusterError, EndpointError, RunFailed, MoeserveError)}


def failed_from(error: BaseException, *, ends_server: bool = True) -> Failed:
    """Describe an error of the node; one that is no MoeserveError is a fault of the agent."""
    if not isinstance(error, MoeserveError):
        told = f"AGENT_FAILED: {type(error).__name__}: {error}"
        return Failed("ServerError", told, stage="agent", ends_server=ends_server)
    stage, tail = getattr(error, "stage", ""), getattr(error, "log_tail", "")
    return Failed(type(error).__name__, str(error), stage, tail, ends_server)


def error_from(failed: Failed) -> MoeserveError:
    """Build the error again on the driver's side."""
    kind = _SERVER.get(failed.kind)
    if kind is not None:
        return kind(failed.message, stage=failed.stage, log_tail=failed.log_tail)
    return _OTHER.get(failed.kind, RunFailed)(failed.message)
