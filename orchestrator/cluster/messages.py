"""Messages between a driver and its agents: a launch request there, events back."""

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
from orchestrator.engine import Measurement
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.results.record import Provenance
from workloads.client.progress import Progress
from workloads.transcript import RequestRow
from workloads.transport.target import Target


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What one node launches of a server group."""

    engine: str
    group: ServerGroup
    experiment: Experiment
    model: Model
    use_gpus: bool
    """False for servers on the CPU and in virtual time: what Ray granted is not looked at."""
    host: str = "127.0.0.1"
    args: tuple[str, ...] = ()
    headless: bool = False
    """vLLM's `--headless`: no HTTP; it is monitored, and ended with the rest."""
    stop_grace_s: float | None = None
    ray_executor: bool = False
    """Whether the server is a driver of this Ray itself, and takes its GPUs from it."""
    api_key: str | None = field(default=None, repr=False)
    target: Target | None = None
    """The server elsewhere that this agent only loads; it starts none."""


@dataclass(frozen=True, slots=True)
class StageChanged:
    text: str


@dataclass(frozen=True, slots=True)
class ServerReady:
    """The server is proved ready."""

    provenance: Provenance
    gpu_type: str
    details: Mapping[str, Any]
    target: Target | None = None
    """Where the server answers; None in virtual time."""


@dataclass(frozen=True, slots=True)
class RowReceived:
    row: RequestRow


@dataclass(frozen=True, slots=True)
class LoadProgressed:
    progress: Progress


@dataclass(frozen=True, slots=True)
class RunCompleted:
    """A run is over; `files` are what it left beside its rows."""

    measurement: Measurement
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ErrorRaised:
    """An error on the node, as data: exceptions do not travel well."""

    kind: str
    message: str
    stage: str = ""
    log_tail: str = ""
    lasting: bool | None = None


@dataclass(frozen=True, slots=True)
class LogAppended:
    """The next bytes of the server's log."""

    text: bytes


@dataclass(frozen=True, slots=True)
class ServerClosed:
    """The server is down and nothing of it is left."""


AgentEvent = (
    StageChanged
    | ServerReady
    | RowReceived
    | LoadProgressed
    | RunCompleted
    | ErrorRaised
    | LogAppended
    | ServerClosed
)

_SERVER = {each.__name__: each for each in (
    ServerError, ServerStartFailed, ServerStartTimeout, ServerDied)}  # fmt: skip
_OTHER = {each.__name__: each for each in (ClusterError, EndpointError, RunFailed, MoeserveError)}


def encode_error(error: BaseException) -> ErrorRaised:
    """Describe an error of the node; one that is no MoeserveError is a fault of the agent."""
    if not isinstance(error, MoeserveError):
        message = f"AGENT_FAILED: {type(error).__name__}: {error}"
        return ErrorRaised("ServerError", message, stage="agent")
    kind, text = type(error).__name__, str(error)
    if isinstance(error, ServerError):
        return ErrorRaised(kind, text, error.stage, error.log_tail, error.lasting)
    return ErrorRaised(kind, text)


def decode_error(event: ErrorRaised) -> MoeserveError:
    """Build the error again on the driver's side."""
    kind = _SERVER.get(event.kind)
    if kind is not None:
        return kind(
            event.message, stage=event.stage, log_tail=event.log_tail, lasting=event.lasting
        )
    return _OTHER.get(event.kind, RunFailed)(event.message)
