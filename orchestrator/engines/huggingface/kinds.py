"""transformers on one device, in servers of our own: token by token, and masked diffusion."""

from collections.abc import Iterable

from catalog.model_table import MODELS
from catalog.models import Model
from orchestrator.engine import Engine, LaunchContext
from orchestrator.engines.checkpoints import make_weights
from orchestrator.engines.checks import TOKEN_BY_TOKEN, fits
from orchestrator.engines.huggingface.diffusion_checks import check_diffusion
from orchestrator.engines.huggingface.offloading import expert_offloading
from orchestrator.engines.huggingface.transformers_checks import NAME, check_transformers
from orchestrator.engines.kind import EngineKind, Request, ServerCommand, refuse_kind
from orchestrator.engines.one_device import environment
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.effective_model import checkpoint_of
from orchestrator.experiment.server_dtypes import requested_model
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.requirements import Requirement, package
from servers.huggingface.causal import require_transformers
from strategies.engine_support import refuse_without_gpu

DIFFUSION_NAME = "diffusion"
LIBRARIES = ("torchao", "bitsandbytes", "hqq")


def _build_transformers() -> Engine:
    from orchestrator.engines.huggingface.transformers import TransformersEngine

    return TransformersEngine()


def _check_transformers(request: Request) -> None:
    require_transformers()
    refuse_kind(request, NAME, "autoregressive", TOKEN_BY_TOKEN)
    check_transformers(request)
    for setup in request.setups:
        if setup.hardware == "CPU":
            refuse_without_gpu(setup.technique, NAME)


def _violations(setup: Setup, model: Model, longest: int) -> tuple[str, ...]:
    held = requested_model(setup.technique, checkpoint_of(setup, model), setup.server_args)
    return fits(setup, model, longest, held, expert_offloading)


def _transformers(
    group: ServerGroup, context: LaunchContext, port: int, served_name: str
) -> ServerCommand:
    from orchestrator.engines.huggingface.transformers import transformers_command

    words = transformers_command(group, context, port=port, served_name=served_name)
    return ServerCommand(tuple(words), environment(group, context))


def _requirements() -> Iterable[Requirement]:
    yield package("transformers", "hf", "tiny checkpoints, diffusion models")
    for library in LIBRARIES:
        yield package(library, "quant", "weights quantised by --engine transformers")


TRANSFORMERS = EngineKind(
    name=NAME,
    build=_build_transformers,
    check=_check_transformers,
    violations=_violations,
    command=_transformers,
    prepare=make_weights,
    devices="one",
    every_layout=("single",),
    reports_experts=True,
    requirements=_requirements,
)


def _build_diffusion() -> Engine:
    from orchestrator.engines.huggingface.diffusion import DiffusionEngine

    return DiffusionEngine()


def _check_diffusion(request: Request) -> None:
    names = ", ".join(name for name, row in MODELS.items() if row.kind == DIFFUSION_NAME)
    refuse_kind(request, DIFFUSION_NAME, "diffusion", f"a diffusion model: {names}")
    gpus = [s.gpu.memory_bytes for s in request.setups if s.gpu is not None and s.hardware != "CPU"]
    here = request.found[0].memory_bytes if request.found else None
    check_diffusion(request.experiment, request.models, free_bytes=here or min(gpus, default=None))


def _no_violations(_setup: Setup, _model: Model, _longest: int) -> tuple[str, ...]:
    """The check against the memory that is free has said it already."""
    return ()


def _diffusion(
    group: ServerGroup, context: LaunchContext, port: int, served_name: str
) -> ServerCommand:
    from orchestrator.engines.huggingface.diffusion import diffusion_command

    words = diffusion_command(context, port=port, served_name=served_name)
    return ServerCommand(tuple(words), environment(group, context))


DIFFUSION = EngineKind(
    name=DIFFUSION_NAME,
    build=_build_diffusion,
    check=_check_diffusion,
    violations=_no_violations,
    command=_diffusion,
    devices="one",
    every_layout=("single",),
    counted=True,
    no_quality="another engine: a diffusion model gives no left-to-right probabilities",
)
