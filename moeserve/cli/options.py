"""The flags of an experiment, shared by every command that takes one; each overrides its field."""

import functools
import inspect
import shlex
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import msgspec
import typer

from catalog.errors import BadValue
from moeserve.cli.inputs import model_names
from orchestrator.experiment import Experiment, override, read_experiment

PANEL_STUDY, PANEL_LOAD, PANEL_SERVER = "What is studied", "Load", "Server"
PANEL_RAY = "With --launcher ray"


def _study(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=PANEL_STUDY, show_default=False)


def _load(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=PANEL_LOAD, show_default=False)


def _server(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=PANEL_SERVER, show_default=False)


def _ray(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=PANEL_RAY, show_default=False)


@dataclass(frozen=True, slots=True)
class ExperimentFlags:
    """One field a flag, named as the experiment's field it overrides; None leaves it alone."""

    models: Annotated[
        list[str] | None,
        _study("--model", "-m", help="Name, Hugging Face id or path; repeatable, or a list: a,b."),
    ] = None
    strategies: Annotated[
        list[str] | None,
        _study("--strategy", "-s", help="single, tp, ep, tp+ep, all, or tp4, dp8+ep, pp2+tp4, …"),
    ] = None
    techniques: Annotated[
        list[str] | None,
        _study("--technique", "-t", help="none, fp8, int8+kv-fp8, …: see moeserve techniques."),
    ] = None
    gpus: Annotated[
        int | None, _study("--gpus", help="Degree of tp, ep and tp+ep, which leave it open.")
    ] = None
    workloads: Annotated[
        list[str] | None,
        _study("--workload", "-w", help="A profile's name, or INPUT:OUTPUT:PROMPTS; repeatable."),
    ] = None
    num_runs: Annotated[
        int | None, _study("--num-runs", help="Replicates, each on servers of its own.")
    ] = None
    seed: Annotated[int | None, _study("--seed", help="Of prompts, arrivals and order.")] = None
    hardware: Annotated[
        str | None,
        _study("--hardware", help="GPU to simulate; real ones are detected and checked against."),
    ] = None
    concurrency: Annotated[
        str | None,
        _load("--concurrency", "--max-concurrency", "-c", help="1..128, 1,4,8 or 4..64:x4."),
    ] = None
    request_rates: Annotated[
        str | None,
        _load("--request-rate", help="Requests per second: an open loop, capped by --concurrency."),
    ] = None
    burstiness: Annotated[
        str | None, _load("--burstiness", help="1 is Poisson, below is burstier; or constant.")
    ] = None
    num_prompts: Annotated[
        str | None, _load("--num-prompts", help="Instead of the workload's; auto holds the load.")
    ] = None
    num_warmups: Annotated[
        int | None, _load("--num-warmups", help="Requests before each run; default one a slot.")
    ] = None
    noise: Annotated[
        float | None, _study("--noise", help="Simulated engine: spread of launches; 0.02 is 2 %.")
    ] = None
    expert_load: Annotated[
        bool | None,
        _study("--expert-load", help="Also ask the server which experts the tokens went to."),
    ] = None
    retries: Annotated[
        int | None, _server("--retries", help="Further starts of a failed server; default 1.")
    ] = None
    client_workers: Annotated[
        int | None, _load("--client-workers", help="Processes of the load generator; default 1.")
    ] = None
    price_per_hour_usd: Annotated[
        float | None, _study("--price-per-hour", help="USD for one GPU; default the catalog's.")
    ] = None
    goodput: Annotated[
        list[str] | None, _load("--goodput", help="Latency limits in ms: ttft:200 tpot:50 e2el:…")
    ] = None
    attainment: Annotated[
        float | None, _load("--attainment", help="Share of requests that must meet --goodput.")
    ] = None
    find_max: Annotated[
        bool | None,
        _load("--find-max", help="Search the highest load that meets --goodput: double, bisect."),
    ] = None
    engine: Annotated[
        str | None,
        _server("--engine", help="auto, vllm, transformers, llamacpp, simulated, diffusion."),
    ] = None
    endpoint: Annotated[
        str | None, _server("--endpoint", help="Measure this running server; start none.")
    ] = None
    launcher: Annotated[
        str | None, _server("--launcher", help="local, or ray: several servers over many nodes.")
    ] = None
    ray_address: Annotated[
        str | None, _ray("--ray-address", help="HOST:PORT of a cluster's head; default start one.")
    ] = None
    ray_token_file: Annotated[
        str | None, _ray("--ray-token-file", help="Its token; default as Ray itself finds it.")
    ] = None
    ray_allow_unauthenticated: Annotated[
        bool | None,
        _ray("--ray-allow-unauthenticated", help="Use a cluster that anybody can run code on."),
    ] = None
    ray_wait_s: Annotated[
        float | None, _ray("--ray-wait", help="Seconds to wait for GPUs others hold; default 600.")
    ] = None
    share_nodes: Annotated[
        bool | None, _ray("--share-nodes", help="Let two servers run on one node at a time.")
    ] = None
    split_tp: Annotated[
        bool | None, _ray("--split-tp", help="Let a tensor-parallel group span nodes.")
    ] = None
    client_on: Annotated[
        str | None, _ray("--client-on", help="Load generator: server (default), driver or a node.")
    ] = None
    server_args: Annotated[
        list[str] | None,
        _server("--server-arg", help="Passed on: --server-arg=--max-model-len=4096; repeatable."),
    ] = None
    server_command: Annotated[
        str | None, _server("--server-command", help="The server's command, instead of vLLM here.")
    ] = None
    server_env: Annotated[
        list[str] | None, _server("--server-env", help="NAME=VALUE for the server; repeatable.")
    ] = None
    start_timeout_s: Annotated[
        float | None, _server("--start-timeout", help="Seconds a server may take to be ready.")
    ] = None
    weights: Annotated[
        str | None, _server("--weights", help="checkpoint, or dummy: random weights, no download.")
    ] = None
    api_key_file: Annotated[
        str | None, _server("--api-key-file", help="For --endpoint; or set MOESERVE_API_KEY.")
    ] = None

    def experiment(self, path: Path | None) -> Experiment:
        """Read the file, if one is given, and lay the flags over it."""
        base = read_experiment(path) if path else Experiment()
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        set_ = {name: value for name, value in given.items() if value not in (None, [])}
        server = {
            field: _SERVER[name](set_.pop(name))
            for name, field in (
                ("server_args", "args"),
                ("server_command", "command"),
                ("server_env", "env"),
                ("start_timeout_s", "start_timeout_s"),
                ("weights", "weights"),
            )
            if name in set_
        }
        ray = {field: set_.pop(name) for name, field in _RAY.items() if name in set_}
        if ray:
            set_["ray"] = msgspec.structs.replace(base.ray, **ray)
        changes = {name: _PARSERS.get(name, _same)(value) for name, value in set_.items()}
        return override(base, changes, server)


def _same(value: Any) -> Any:
    return value


def _split(values: list[str]) -> tuple[str, ...]:
    return tuple(part.strip() for value in values for part in value.split(","))


def _rates(text: str) -> tuple[float, ...]:
    from workloads.concurrency import parse_rates

    return parse_rates(text)


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
    from workloads.goodput import parse_goodput

    return parse_goodput(values)


def _environment(values: list[str]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for name, equals, _ in pairs:
        if not equals or not name.isidentifier():
            raise BadValue("--server-env", name, "NAME=VALUE")
    return {name: value for name, _, value in pairs}


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "models": model_names,
    "strategies": tuple,
    "techniques": tuple,
    "workloads": _split,
    "request_rates": _rates,
    "burstiness": _burstiness,
    "num_prompts": _num_prompts,
    "goodput": _goodput,
}
_SERVER: dict[str, Callable[[Any], Any]] = {
    "server_args": tuple,
    "server_command": lambda text: tuple(shlex.split(text)),
    "server_env": _environment,
    "start_timeout_s": _same,
    "weights": _same,
}


_RAY = {
    "ray_address": "address",
    "ray_token_file": "token_file",
    "ray_allow_unauthenticated": "allow_unauthenticated",
    "ray_wait_s": "wait_s",
    "share_nodes": "share_nodes",
    "split_tp": "split_tp",
    "client_on": "client_on",
}


def with_experiment(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all flags of an experiment: its parameter `flags` collects them."""
    hints = get_type_hints(ExperimentFlags, include_extras=True)
    flags = [
        inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hints[each.name]
        )
        for each in fields(ExperimentFlags)
    ]
    own = inspect.signature(command, eval_str=True).parameters
    names = {each.name for each in flags}

    @functools.wraps(command)
    def wrapped(**arguments: Any) -> None:
        collected = {name: arguments.pop(name) for name in names}
        command(flags=ExperimentFlags(**collected), **arguments)

    kept = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own.values()]
    parameters = [each for each in kept if each.name != "flags"] + flags
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return wrapped


ExperimentArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[EXPERIMENT.yaml]",
        help="A study as a file; flags override it.",
        show_default=False,
    ),
]
