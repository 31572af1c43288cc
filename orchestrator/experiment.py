"""What is asked: an experiment as one YAML file, or the same fields from flags."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from msgspec.structs import force_setattr

from catalog.errors import BadFile, BadValue, UnknownName
from orchestrator.cluster.options import RayOptions
from orchestrator.secrets import refuse_secrets
from strategies.parse import layout_names
from strategies.technique import technique_names

ENGINES = ("auto", "vllm", "simulated", "diffusion", "transformers", "llamacpp")
ONE_DEVICE = ("diffusion", "transformers", "llamacpp")
"""Engines that serve on one GPU or the CPU."""
ON_THIS_HOST = ("vllm", *ONE_DEVICE)
"""Engines whose servers are given the GPUs of this host."""
LAUNCHERS = ("local", "ray")
WEIGHTS = ("checkpoint", "dummy")
LEAST = {
    "num_runs": 1,
    "client_workers": 1,
    "retries": 0,
    "seed": 0,
    "gpus": 1,
    "num_prompts": 1,
    "num_warmups": 0,
    "price_per_hour_usd": 0,
    "noise": 0,
}
LARGEST_NOISE = 0.5

DEFAULT_MODEL = "OLMoE-1B-7B"
DEFAULT_CONCURRENCY = "1,4,8,16,32,64,128"
DEFAULT_WORKLOADS = ("decode-heavy", "prefill-heavy", "balanced")
LARGEST_FILE_BYTES = 1_000_000


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the server under test is started; every field is part of the record."""

    args: tuple[str, ...] = ()
    """Further arguments, after moeserve's own; the last one given wins in vLLM."""
    command: tuple[str, ...] = ()
    """The server's command instead of the vLLM found here: another environment, a container."""
    env: dict[str, str] = {}
    start_timeout_s: float = 1800.0
    weights: str = "checkpoint"
    """`dummy` starts with random weights: speed without a download, routing not the model's own."""

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise UnknownName("weights", self.weights, WEIGHTS)
        refuse_secrets((*self.args, *self.command), self.env)
        if not self.start_timeout_s > 0:
            raise BadValue("start_timeout_s", self.start_timeout_s, "seconds above 0")


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A study: models × strategies × techniques × workloads × load points × replicates."""

    name: str = "experiment"
    models: tuple[str, ...] = (DEFAULT_MODEL,)
    strategies: tuple[str, ...] = ("all",)
    techniques: tuple[str, ...] = ("none",)
    """Each crossed with every strategy: none, fp8, kv-fp8, int8+kv-fp8, variant:REPO, …"""
    gpus: int | None = None
    """Degree of `tp`, `ep` and `tp+ep`, which leave it open."""
    workloads: tuple[str, ...] = DEFAULT_WORKLOADS
    concurrency: str | None = None
    """Levels such as `1..128`, `1,4,8`, `4..64:x4`; a cap when request rates are given."""
    request_rates: tuple[float, ...] = ()
    """Requests per second of an open loop; empty for a closed loop."""
    burstiness: float | Literal["constant"] = 1.0
    """Shape of the gamma distribution of gaps between arrivals; 1 is Poisson."""
    num_prompts: int | Literal["auto"] | None = None
    """Instead of each workload's own count."""
    num_warmups: int | None = None
    """Requests before each measured run; None is one at each of its concurrent slots."""
    num_runs: int = 1
    seed: int = 0
    engine: str = "auto"
    endpoint: str | None = None
    hardware: str | dict[str, str] | None = None
    """A GPU's name, or one for each strategy with the rest under `default`."""
    launcher: str = "local"
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
    ray: RayOptions = msgspec.field(default_factory=RayOptions)
    slurm: dict[str, Any] = {}
    """Options of `moeserve slurm`, which checks them."""

    def __post_init__(self) -> None:
        # `tp,ep` is the two names that it is: however they were given, it is one study.
        force_setattr(self, "strategies", layout_names(self.strategies))
        force_setattr(self, "techniques", technique_names(self.techniques))
        self._check_names_and_counts()
        self._check_arrivals()

    def _check_names_and_counts(self) -> None:
        for field, known in (("engine", ENGINES), ("launcher", LAUNCHERS)):
            if getattr(self, field) not in known:
                raise UnknownName(field, getattr(self, field), known)
        for field, least in LEAST.items():
            value = getattr(self, field)
            if isinstance(value, int | float) and not value >= least:
                raise BadValue(field, value, f"{least} or more")
        if self.noise > LARGEST_NOISE:
            raise BadValue("noise", self.noise, f"0 to {LARGEST_NOISE}, such as 0.02")
        if not 0 < self.attainment <= 1:
            raise BadValue("attainment", self.attainment, "above 0, at most 1")

    def _check_arrivals(self) -> None:
        if not all(0 < rate < float("inf") for rate in self.request_rates):
            raise BadValue("request_rates", self.request_rates, "requests per second above 0")
        if self.burstiness != "constant" and not 0 < self.burstiness < float("inf"):
            raise BadValue("burstiness", self.burstiness, "above 0 (1 is Poisson), or constant")


# Fields that say how to get at a server rather than what is studied: they may differ on resume.
NOT_STUDIED = ("api_key_file", "retries", "launcher", "ray", "slurm")


def read_experiment(path: Path) -> Experiment:
    """Read an experiment from YAML; an error names the file, the place and what is allowed."""
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise BadFile(path, f"larger than {LARGEST_FILE_BYTES} bytes, not an experiment")
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (safe subclass)
    except FileNotFoundError:
        raise BadFile(path, "no such experiment file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(path, f"cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise BadFile(path, f"is not YAML: {' '.join(str(error).split())}") from error
    return experiment_from(document if document is not None else {}, source=str(path))


def experiment_from(document: object, *, source: str) -> Experiment:
    """Check a decoded document against the fields of an experiment."""
    try:
        return msgspec.convert(_with_lists(document), Experiment, strict=True)
    except msgspec.ValidationError as error:
        known = ", ".join(Experiment.__struct_fields__)
        hint = f"; fields: {known}" if "unknown field" in str(error) else ""
        raise BadFile(source, f"{error}{hint}") from error


def override(
    experiment: Experiment, changes: Mapping[str, Any], server: Mapping[str, Any]
) -> Experiment:
    """Return the experiment with the fields that the command line set."""
    options = msgspec.structs.replace(experiment.server, **server)
    return msgspec.structs.replace(experiment, **changes, server=options)


def _with_lists(document: object) -> object:
    """Let a single value stand where a list is meant: `strategies: tp`."""
    if not isinstance(document, dict):
        return document
    plural = ("models", "strategies", "techniques", "workloads", "request_rates")
    return {
        key: [value] if key in plural and isinstance(value, str | float | int) else value
        for key, value in document.items()
    }


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses duplicate keys and aliases, which an experiment has no use for."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("anchors and aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"key {twice!r} stands twice in the mapping at line {line}")
        return super().construct_mapping(node, deep)
