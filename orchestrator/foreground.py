"""The command of one server that a user wants in the foreground."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadValue, ServerStartFailed
from orchestrator.devices import devices
from orchestrator.engines.base import Site
from orchestrator.engines.command import (
    find_command,
    make_weights,
    server_command,
    server_environment,
)
from orchestrator.engines.registry import resolve
from orchestrator.experiment import ON_THIS_HOST, Experiment
from orchestrator.plan import Plan, make_plan
from strategies.vllm_args import vllm_args


@dataclass(frozen=True, slots=True)
class Foreground:
    """What to start, and what to tell the user first."""

    words: tuple[str, ...]
    env: Mapping[str, str]
    notice: str


def foreground(experiment: Experiment, *, served_name: str | None, port: int) -> Foreground:
    """Plan a single server as a run would and return its command line.

    The experiment names one model and one strategy; an address that is not loopback is the user's
    own choice and stands after ours.
    """
    name, notice = resolve(experiment)
    found = devices() if name in ON_THIS_HOST else ()
    plan = make_plan(experiment, name, found=found)
    if len(plan.groups) != 1:
        given = f"{experiment.models} as {experiment.strategies}"
        raise BadValue("serve", given, "one model in one layout")
    build = {
        "simulated": _simulated,
        "diffusion": _diffusion,
        "transformers": _transformers,
        "llamacpp": _llamacpp,
    }.get(name, _vllm)
    return build(plan, served_name or next(iter(plan.models)), port, notice)


def _simulated(plan: Plan, served_name: str, port: int, notice: str) -> Foreground:
    setup = plan.groups[0].setup
    assert setup.layout is not None
    if setup.technique != "none":
        allowed = "none: the simulated server knows layouts; moeserve run simulates techniques"
        raise BadValue("--technique", setup.technique, allowed)
    words = (
        *(sys.executable, "-m", "orchestrator.simserver"),
        *("--model", plan.experiment.models[0], "--served-model-name", served_name),
        *("--port", str(port), "--hardware", setup.hardware),
        *vllm_args(setup.layout),
        *setup.server_args,
    )
    return Foreground(words, {}, notice)


def _diffusion(plan: Plan, served_name: str, port: int, notice: str) -> Foreground:
    from orchestrator.engines.diffusion import diffusion_command
    from orchestrator.engines.hf import environment

    group = plan.groups[0]
    gpus = tuple(str(device.index) for device in devices()) or None
    site = Site(plan.experiment, plan.models[group.setup.model], Path(), gpus)
    words = diffusion_command(site, port=port, served_name=served_name)
    return Foreground(tuple(words), environment(group, site), notice)


def _transformers(plan: Plan, served_name: str, port: int, notice: str) -> Foreground:
    from orchestrator.engines.hf import environment
    from orchestrator.engines.transformers import transformers_command

    group = plan.groups[0]
    gpus = tuple(str(device.index) for device in devices()) or None
    site = Site(plan.experiment, plan.models[group.setup.model], Path(), gpus)
    make_weights(group, site)
    words = transformers_command(group, site, port=port, served_name=served_name)
    return Foreground(tuple(words), environment(group, site), notice)


def _llamacpp(plan: Plan, served_name: str, port: int, notice: str) -> Foreground:
    from orchestrator.engines.hf import environment
    from orchestrator.engines.llamacpp_command import llamacpp_command
    from orchestrator.llamacpp_plan import require_server

    group = plan.groups[0]
    gpus = tuple(str(device.index) for device in devices()) or None
    site = Site(plan.experiment, plan.models[group.setup.model], Path(), gpus)
    base = require_server(plan.experiment)
    words = llamacpp_command(group, site, base=base, port=port, served_name=served_name)
    return Foreground(tuple(words), environment(group, site), notice)


def _vllm(plan: Plan, served_name: str, port: int, notice: str) -> Foreground:
    group = plan.groups[0]
    gpus = tuple(str(device.index) for device in devices()) or None
    site = Site(plan.experiment, plan.models[group.setup.model], Path(), gpus)
    base = list(plan.experiment.server.command) or find_command()
    if base is None:
        raise ServerStartFailed("SERVER_MISSING: no vLLM here: see moeserve doctor", stage="launch")
    make_weights(group, site)
    words = server_command(group, site, base=base, port=port, served_name=served_name)
    environment = server_environment(group, site, range(port, port + 50))
    return Foreground(tuple(words), environment, notice)
