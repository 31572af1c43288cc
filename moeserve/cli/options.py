"""The flags of an experiment, shared by every command that takes one; each overrides its field."""

import functools
import inspect
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from catalog.errors import BadFile, BadValue
from moeserve.cli.endpoint_flags import extra_body, headers
from moeserve.cli.inputs import model_names
from orchestrator.engines.registry import choices

if TYPE_CHECKING:
    from orchestrator.experiment.experiment import Experiment

TEXT, WHOLE, NUMBER, YES = str | None, int | None, float | None, bool | None
TEXTS = list[str] | None


def _same(value: Any) -> Any:
    return value


def _words(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


def _split(values: list[str]) -> tuple[str, ...]:
    return tuple(part.strip() for value in values for part in value.split(","))


def _workloads(values: list[str]) -> tuple[str, ...]:
    from workloads.load.language import listed

    return tuple(text for value in values for text in listed(value))


def _rates(values: list[str]) -> tuple[float, ...]:
    from workloads.load.concurrency import parse_rates

    return parse_rates(",".join(values))


def _burstiness(text: str) -> float | str:
    if text in ("constant", "inf"):
        return "constant"
    try:
        return float(text)
    except ValueError:
        raise BadValue("--burstiness", text, "a number above 0, or constant") from None


def _num_prompts(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isascii() or not text.isdigit():
        raise BadValue("--num-prompts", text, "a whole number from 1, or auto")
    return int(text)


def _goodput(values: list[str]) -> dict[str, float]:
    from workloads.figures.goodput import parse_goodput

    return parse_goodput(values)


def _environment(values: list[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, _ in pairs:
        if not equals or not name.isidentifier():
            raise BadValue("--server-env", name, "NAME=VALUE")
    return {name: value for name, _, value in pairs}


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag; not given, it leaves its field alone."""

    field: str
    """Of the experiment; of one of its parts with a dot, as in `server.args`."""
    names: str
    kind: Any
    help: str
    read: Callable[[Any], Any] = _same
    """Turns what the command line holds into the field's value."""

    @property
    def parameter(self) -> str:
        return self.field.replace(".", "_")


FLAGS: dict[str, tuple[Flag, ...]] = {
    "What is studied": (
        Flag("models", "--model -m", TEXTS,
             "Name, Hugging Face id or path; repeatable, or a list: a,b.", model_names),
        Flag("strategies", "--strategy -s", TEXTS,
             "single, tp, ep, tp+ep, all, or tp4, dp8+ep, pp2+tp4, …", tuple),
        Flag("techniques", "--technique -t", TEXTS,
             "none, fp8, int8+kv-fp8, …: see moeserve techniques.", tuple),
        Flag("gpus", "--gpus", WHOLE, "Degree of tp, ep and tp+ep, which leave it open."),
        Flag("workloads", "--workload -w", TEXTS,
             "A profile, INPUT:OUTPUT:PROMPTS, file:…, trace:… (docs/workloads.md).", _workloads),
        Flag("num_runs", "--num-runs", WHOLE, "Replicates, each on servers of its own."),
        Flag("seed", "--seed", WHOLE, "Of prompts, arrivals and order."),
        Flag("hardware", "--hardware", TEXT,
             "GPU to simulate, or its file; real ones are checked against it."),
        Flag("noise", "--noise", NUMBER, "Simulated engine: spread of launches; 0.02 is 2 %."),
        Flag("expert_load", "--expert-load", YES,
             "Also ask the server which experts the tokens went to."),
        Flag("price_per_hour_usd", "--price-per-hour", NUMBER,
             "USD for one GPU; default the catalog's."),
    ),
    "Load": (
        Flag("concurrency", "--concurrency --max-concurrency -c", TEXTS,
             "1..128, 1,4,8 or 4..64:x4; repeatable.", ",".join),
        Flag("request_rates", "--request-rate", TEXTS,
             "Requests per second: an open loop, capped by --concurrency.", _rates),
        Flag("burstiness", "--burstiness", TEXT,
             "1 is Poisson, below is burstier; or constant.", _burstiness),
        Flag("rate_curve", "--rate-curve", TEXT,
             "The rate over time: steps:1x60,4x30, ramp:0.5-2x300, diurnal:0.2-1.8x600."),
        Flag("num_prompts", "--num-prompts", TEXT,
             "Instead of the workload's; auto holds the load.", _num_prompts),
        Flag("num_warmups", "--num-warmups", WHOLE,
             "Requests before each run; default one a slot."),
        Flag("client_workers", "--client-workers", WHOLE,
             "Processes of the load generator; default 1."),
        Flag("goodput", "--goodput", TEXTS,
             "Latency limits in ms: ttft:200 tpot:50 e2el:…", _goodput),
        Flag("attainment", "--attainment", NUMBER,
             "Share of requests that must meet --goodput."),
        Flag("find_max", "--find-max", YES,
             "Search the highest load that meets --goodput: double, bisect."),
    ),
    "Server": (
        Flag("retries", "--retries", WHOLE, "Further starts of a failed server; default 1."),
        Flag("engine", "--engine", TEXT,
             f"{', '.join(choices())}."),
        Flag("launcher", "--launcher", TEXT, "local, or ray: several servers over many nodes."),
        Flag("server.args", "--server-arg", TEXTS,
             "Passed on: --server-arg=--max-model-len=4096; repeatable.", tuple),
        Flag("server.command", "--server-command", TEXT,
             "The server's command, instead of vLLM here.", _words),
        Flag("server.env", "--server-env", TEXTS,
             "NAME=VALUE for the server; repeatable.", _environment),
        Flag("server.start_timeout_s", "--start-timeout", NUMBER,
             "Seconds a server may take to be ready, also one that already runs."),
        Flag("server.weights", "--weights", TEXT,
             "checkpoint, or dummy: random weights, no download."),
    ),
    "A server that already runs": (
        Flag("endpoint", "--endpoint --base-url --url --target", TEXT,
             "Measure this running server; start none."),
        Flag("api_key_file", "--api-key-file", TEXT, "Its key; or set MOESERVE_API_KEY."),
        Flag("endpoint_options.api", "--api", TEXT, "completions (default), or chat."),
        Flag("endpoint_options.prompt", "--prompt", TEXT,
             "ids of exact length (default), or text of about it."),
        Flag("endpoint_options.served_name", "--served-model-name", TEXT,
             "The name to ask for; default the model's own."),
        Flag("endpoint_options.extra_body", "--extra-body", TEXT,
             "Further fields of each request, as JSON.", extra_body),
        Flag("endpoint_options.omit_fields", "--omit-field", TEXTS,
             "A field not to send, as ignore_eos; repeatable.", _split),
        Flag("endpoint_options.headers", "--header", TEXTS,
             "NAME=VALUE; of a secret one $VARIABLE or @FILE; repeatable.", headers),
        Flag("endpoint_options.ca_file", "--ca-file", TEXT, "Certificates to trust (PEM)."),
        Flag("endpoint_options.insecure", "--insecure", YES, "Trust any certificate."),
        Flag("endpoint_options.metrics_url", "--metrics-url", TEXT,
             "Where its counters are, or none; default /metrics."),
        Flag("endpoint_options.stall_timeout_s", "--stall-timeout", NUMBER,
             "Seconds without a token that are a stall; default by its own."),
        Flag("endpoint_options.request_timeout_s", "--request-timeout", NUMBER,
             "Seconds a request may take; default any."),
    ),
    "With --launcher ray": (
        Flag("ray.address", "--ray-address", TEXT,
             "HOST:PORT of a cluster's head; default start one."),
        Flag("ray.token_file", "--ray-token-file", TEXT,
             "Its token; default as Ray itself finds it."),
        Flag("ray.allow_unauthenticated", "--ray-allow-unauthenticated", YES,
             "Use a cluster that anybody can run code on."),
        Flag("ray.wait_s", "--ray-wait", NUMBER,
             "Seconds to wait for GPUs others hold; default 600."),
        Flag("ray.share_nodes", "--share-nodes", YES, "Let two servers run on one node at a time."),
        Flag("ray.split_tp", "--split-tp", YES, "Let a tensor-parallel group span nodes."),
        Flag("ray.client_on", "--client-on", TEXT,
             "Load generator: server (default), driver or a node."),
    ),
}  # fmt: skip


NEEDS = {
    "attainment": ("goodput", "--goodput"),
    "burstiness": ("request_rates", "--request-rate"),
    "api_key_file": ("endpoint", "--endpoint"),
    "ray.address": ("launcher", "--launcher ray"),
    "ray.token_file": ("launcher", "--launcher ray"),
    "ray.allow_unauthenticated": ("launcher", "--launcher ray"),
}
"""By its field, what a flag changes nothing without: a field, and the flag that sets it."""


@dataclass(frozen=True, slots=True)
class ExperimentFlags:
    """What the command line says of an experiment, by the name of each flag's parameter."""

    given: Mapping[str, Any]

    def experiment(self, path: Path | None) -> "Experiment":
        """Read the file, if one is given, and lay the flags over it."""
        from orchestrator.experiment.experiment import Experiment, override, read_experiment

        if path is not None and path.is_dir() and (study := path / "experiment.json").is_file():
            raise BadFile(path, f"is a results directory; its study goes on by {study} -o {path}")
        base = read_experiment(path) if path else Experiment()
        asked_for = override(base, {flag.field: flag.read(value) for flag, value in self._set()})
        self._refuse_idle(asked_for)
        return asked_for

    def _refuse_idle(self, asked_for: "Experiment") -> None:
        """Raise BadValue for a flag that changes nothing without another that is not there."""
        for flag, value in self._set():
            needed, setter = NEEDS.get(flag.field, ("", ""))
            if needed and getattr(asked_for, needed) in (None, (), {}, "local"):
                raise BadValue(flag.names.split()[0], value, f"with {setter}: it does nothing else")

    def _set(self) -> Iterator[tuple[Flag, Any]]:
        """The flags that were given, each with what the command line holds."""
        for flag in (flag for panel in FLAGS.values() for flag in panel):
            value = self.given.get(flag.parameter)
            if value not in (None, []):
                yield flag, value


def with_experiment(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all flags of an experiment: its parameter `flags` collects them."""
    flags = [_parameter(flag, panel) for panel, listed in FLAGS.items() for flag in listed]
    own = inspect.signature(command, eval_str=True).parameters

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        given = {each.name: arguments.pop(each.name) for each in flags}
        command(flags=ExperimentFlags(given), **arguments)

    kept = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own.values()]
    parameters = [each for each in kept if each.name != "flags"] + flags
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped


def _parameter(flag: Flag, panel: str) -> inspect.Parameter:
    """The flag as typer wants it: a parameter whose annotation says everything."""
    option = typer.Option(
        *flag.names.split(), help=flag.help, rich_help_panel=panel, show_default=False
    )
    return inspect.Parameter(
        flag.parameter,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[flag.kind, option],
    )


ExperimentArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[EXPERIMENT.yaml]",
        help="A study as a file; flags override it.",
        show_default=False,
    ),
]
