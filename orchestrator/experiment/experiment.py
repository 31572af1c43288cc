"""What is asked: an experiment as one YAML file, or the same fields from flags."""

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec.structs import force_setattr

from catalog.bounded import INT64_MOST, RealRange, WholeRange
from catalog.errors import BadFile, BadValue, UnknownName
from catalog.gpu_row import GpuRow
from orchestrator.experiment import AUTO
from orchestrator.experiment.document import LISTS, as_fields, explained
from orchestrator.experiment.endpoint_options import EndpointOptions
from orchestrator.experiment.hardware import settled
from orchestrator.experiment.ray_options import RayOptions
from orchestrator.host.secrets import refuse_secrets
from strategies.documents import read_yaml
from strategies.parse import layout_names
from strategies.technique import technique_names
from workloads.figures.goodput import ALLOWED
from workloads.load.build import pinned
from workloads.load.profiles import TEXTS
from workloads.load.rate_curve import parse_curve

LAUNCHERS = ("local", "ray")
WEIGHTS = ("checkpoint", "dummy")
RANGES: dict[str, WholeRange | RealRange] = {
    "num_runs": WholeRange(1, 10_000),
    "client_workers": WholeRange(1, 1_024),
    "retries": WholeRange(0, 1_000),
    "seed": WholeRange(0, INT64_MOST),
    "gpus": WholeRange(1, 1_000_000),
    "num_prompts": WholeRange(1, 10_000_000),
    "num_warmups": WholeRange(0, 1_000_000),
    "price_per_hour_usd": RealRange(0, 1e6),
    "noise": RealRange(0, 0.5),
}
"""What is beyond them would be a list or a wait of that size before anything was measured."""
LONGEST_START_S = 30 * 86_400.0
LONGEST_NAME = 200
_FOLDER = re.compile(rf"[^/\x00-\x1f]{{1,{LONGEST_NAME}}}")
MOST_NAMES = 5_000
"""Of one list: models, strategies, workloads, rates and so on."""

DEFAULT_MODEL = "OLMoE-1B-7B"
DEFAULT_CONCURRENCY = "1,4,8,16,32,64,128"
DEFAULT_WORKLOADS = ("decode-heavy", "prefill-heavy", "balanced")


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the server under test is started; every field is part of the record."""

    args: tuple[str, ...] = ()
    """Further arguments, after moeserve's own; the last one given wins in vLLM."""
    command: tuple[str, ...] = ()
    """The server's command instead of the vLLM found here: another environment, a container."""
    env: dict[str, str] = {}
    """Variables for the server."""
    start_timeout_s: float = 1800.0
    """What a server may take to be ready, also one that already runs."""
    weights: str = "checkpoint"
    """`dummy` starts with random weights: speed without a download, routing not the model's own."""

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise UnknownName("weights", self.weights, WEIGHTS)
        refuse_secrets((*self.args, *self.command), self.env)
        if not 0 < self.start_timeout_s <= LONGEST_START_S:
            allowed = f"seconds above 0, at most {LONGEST_START_S:.0f}"
            raise BadValue("start_timeout_s", self.start_timeout_s, allowed)


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A study: models × strategies × techniques × workloads × load points × replicates."""

    name: str = "experiment"
    """Of the study; it names the results directory that nobody gave."""
    models: tuple[str, ...] = ()
    """Without any: OLMoE-1B-7B, or what a server that already runs says it serves."""
    strategies: tuple[str, ...] = ("all",)
    techniques: tuple[str, ...] = ("none",)
    """Each crossed with every strategy: none, fp8, kv-fp8, int8+kv-fp8, variant:REPO, …"""
    gpus: int | None = None
    """Degree of `tp`, `ep` and `tp+ep`, which leave it open."""
    workloads: tuple[str, ...] = DEFAULT_WORKLOADS
    """Names of profiles, `INPUT:OUTPUT:PROMPTS`, or others of docs/workloads.md."""
    concurrency: str | None = None
    """Levels such as `1..128`, `1,4,8`, `4..64:x4`; a cap when request rates are given."""
    request_rates: tuple[float, ...] = ()
    """Requests per second of an open loop; empty for a closed loop."""
    burstiness: float | Literal["constant"] = 1.0
    """Shape of the gamma distribution of gaps between arrivals; 1 is Poisson."""
    rate_curve: str | None = None
    """Multiples of each request rate over time: steps:1x60,4x30, ramp:0.5-2x300, diurnal:…"""
    num_prompts: int | Literal["auto"] | None = None
    """Instead of each workload's own count."""
    num_warmups: int | None = None
    """Requests before each measured run; None is one at each of its concurrent slots."""
    num_runs: int = 1
    """Replicates, each on servers of its own."""
    seed: int = 0
    """Of prompts, arrivals and order."""
    engine: str = AUTO
    """A name of the engines' registry, or `auto`."""
    endpoint: str | None = None
    """URL of a server that already runs: it is measured, none is started."""
    endpoint_options: EndpointOptions = msgspec.field(default_factory=EndpointOptions)
    hardware: str | dict[str, str] | None = None
    """A GPU's name or file, or one for each strategy with the rest under `default`."""
    own_gpus: tuple[GpuRow, ...] = ()
    """The user's own GPUs of these, filled in from their files."""
    launcher: str = "local"
    """`local`, or `ray`: several servers over many nodes."""
    price_per_hour_usd: float | None = None
    """Of one GPU, instead of the catalog's."""
    goodput: dict[str, float] = {}
    """Latency limits in ms by metric: ttft, tpot, e2el."""
    find_max: bool = False
    """Search for the highest load that meets the limits, instead of running every level."""
    attainment: float = 0.99
    """Share of requests that must meet the limits for a load to pass a search."""
    server: ServerOptions = msgspec.field(default_factory=ServerOptions)
    api_key_file: str | None = None
    """The key itself is never part of an experiment."""
    noise: float = 0.0
    """Simulated engine: standard deviation of the logarithm of a launch's and of a step's time."""
    expert_load: bool = False
    """Ask the server which experts its tokens went to; its prefix cache is on then."""
    retries: int = 1
    """Further starts of a server that failed in a way that may pass."""
    client_workers: int = 1
    """Processes of the load generator."""
    ray: RayOptions = msgspec.field(default_factory=RayOptions)
    slurm: dict[str, Any] = {}
    """Options of `moeserve slurm`, which checks them."""

    def __post_init__(self) -> None:
        if not self.models and not self.endpoint:
            force_setattr(self, "models", (DEFAULT_MODEL,))
        for field in LISTS:
            if len(getattr(self, field)) > MOST_NAMES:
                raise BadValue(
                    field, f"{len(getattr(self, field))} of them", f"at most {MOST_NAMES}"
                )
        # `tp,ep` is the two names that it is: however they were given, it is one study.
        force_setattr(self, "strategies", layout_names(self.strategies))
        force_setattr(self, "techniques", technique_names(self.techniques))
        # A file is found again, and known to be the same, wherever the study goes on.
        force_setattr(self, "workloads", tuple(pinned(text, TEXTS) for text in self.workloads))
        hardware, rows = settled(self.hardware, self.own_gpus)
        force_setattr(self, "hardware", hardware)
        force_setattr(self, "own_gpus", rows)
        self._check_names_and_counts()
        self._check_arrivals()

    def _check_names_and_counts(self) -> None:
        if not _FOLDER.fullmatch(self.name):
            folder = f"the name of a folder, of at most {LONGEST_NAME} characters and without /"
            raise BadValue("name", self.name, folder)
        if self.launcher not in LAUNCHERS:
            raise UnknownName("launcher", self.launcher, LAUNCHERS)
        for field, allowed in RANGES.items():
            value = getattr(self, field)
            if isinstance(value, int | float):
                allowed.require(value, field)
        if not 0 < self.attainment <= 1:
            raise BadValue("attainment", self.attainment, "above 0, at most 1")
        if not all(0 < limit_ms < float("inf") for limit_ms in self.goodput.values()):
            raise BadValue("goodput", self.goodput, ALLOWED)

    def _check_arrivals(self) -> None:
        if not all(0 < rate < float("inf") for rate in self.request_rates):
            raise BadValue("request_rates", self.request_rates, "requests per second above 0")
        if self.burstiness != "constant" and not 0 < self.burstiness < float("inf"):
            raise BadValue("burstiness", self.burstiness, "above 0 (1 is Poisson), or constant")
        if self.rate_curve is not None:
            parse_curve(self.rate_curve)
            if not self.request_rates:
                raise BadValue("rate_curve", self.rate_curve, "with request_rates (--request-rate)")


# Fields that say how to get at a server rather than what is studied: they may differ on resume.
# A user's own GPU is studied under its name in `hardware`, which holds a hash of its numbers.
NOT_STUDIED = ("api_key_file", "retries", "launcher", "ray", "slurm", "own_gpus")


def read_experiment(path: Path) -> Experiment:
    """Read an experiment from YAML; an error names the file, the place and what is allowed."""
    document = read_yaml(path, "experiment")
    return experiment_from(document if document is not None else {}, source=str(path))


def experiment_from(document: object, *, source: str) -> Experiment:
    """Check a decoded document against the fields of an experiment."""
    try:
        return msgspec.convert(as_fields(document), Experiment, strict=True)
    except (msgspec.ValidationError, BadValue) as error:
        raise BadFile(source, explained(str(error), Experiment)) from error


def override(experiment: Experiment, changes: Mapping[str, Any]) -> Experiment:
    """Return the experiment with other fields, those of its parts by names as `server.args`."""
    own: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, value in changes.items():
        part, _, field = name.rpartition(".")
        (parts[part] if part else own)[field] = value
    for part, fields in parts.items():
        own[part] = msgspec.structs.replace(getattr(experiment, part), **fields)
    if own.get("endpoint") and experiment.models == (DEFAULT_MODEL,):
        own = {"models": (), **own}  # nobody has named it: the server does
    return msgspec.structs.replace(experiment, **own)
