"""llama.cpp: quantised GGUF files on one GPU or the CPU."""

import shutil
from collections.abc import Iterable

from catalog.errors import install_line
from orchestrator.engine import Engine, LaunchContext
from orchestrator.engines.checks import TOKEN_BY_TOKEN
from orchestrator.engines.kind import EngineKind, Request, ServerCommand, refuse_kind
from orchestrator.engines.llamacpp.checks import NAME, check_llamacpp, require_server, violations
from orchestrator.engines.llamacpp.command import llamacpp_command
from orchestrator.engines.one_device import environment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.requirements import Requirement, version_of


def _build() -> Engine:
    from orchestrator.engines.llamacpp.engine import LlamaCppEngine

    return LlamaCppEngine()


def _check(request: Request) -> None:
    require_server(request.experiment)
    refuse_kind(request, NAME, "autoregressive", TOKEN_BY_TOKEN)
    check_llamacpp(request)


def _command(
    group: ServerGroup, context: LaunchContext, port: int, served_name: str
) -> ServerCommand:
    base = require_server(context.experiment)
    words = llamacpp_command(group, context, base=base, port=port, served_name=served_name)
    return ServerCommand(tuple(words), environment(group, context))


def _requirements() -> Iterable[Requirement]:
    program, package = shutil.which("llama-server"), version_of("xllamacpp")
    found = program or (f"xllamacpp {package}" if package else "none")
    fix = "" if program or package else f"{install_line('llamacpp')}, or llama.cpp's releases"
    yield Requirement("llama.cpp", bool(program or package), found, fix)


KIND = EngineKind(
    name=NAME,
    build=_build,
    check=_check,
    violations=violations,
    command=_command,
    devices="one",
    every_layout=("single",),
    no_quality="another engine: llama.cpp's server gives no probabilities of a prompt",
    requirements=_requirements,
)
