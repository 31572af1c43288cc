"""transformers in a server of moeserve's own, for techniques that vLLM lacks: one device."""

import contextlib
import secrets
import sys
from collections.abc import AsyncIterator

import msgspec

from catalog.errors import ServerStartFailed
from orchestrator.devices import devices
from orchestrator.engines.base import Session, Site, Watch
from orchestrator.engines.command import make_weights, weights
from orchestrator.engines.control import Control
from orchestrator.engines.http_session import HttpSession
from orchestrator.engines.readiness import death, prove_ready, wait_until_listening
from orchestrator.hfserver.causal import require_transformers
from orchestrator.hfserver.offload.options import OffloadOptions, arguments_of, options_of
from orchestrator.plan import ServerGroup
from orchestrator.ports import port_range
from orchestrator.process import ServerProcess
from strategies.technique import Technique, parse_technique
from workloads.target import Target

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
EVERY_EXPERT = 1.0


class TransformersEngine:
    """Starts one server of `orchestrator.hfserver` a group, on one GPU or the CPU."""

    def __init__(self) -> None:
        require_transformers()

    @contextlib.asynccontextmanager
    async def open(self, group: ServerGroup, site: Site, watch: Watch) -> AsyncIterator[Session]:
        with port_range() as ports:
            served_name = f"moeserve-{secrets.token_hex(6)}"
            process = _start(group, site, ports.start, served_name)
            try:
                async with Control(f"http://127.0.0.1:{ports.start}") as control:
                    yield await _ready(process, control, served_name, site, watch)
            finally:
                watch.on_stage("stopping the server")
                await process.stop()


def transformers_command(
    group: ServerGroup, site: Site, *, port: int, served_name: str
) -> list[str]:
    """Return the server's command line; the user's own arguments come last and win."""
    technique = parse_technique(group.setup.technique)
    return [
        *(sys.executable, "-m", "orchestrator.hfserver", *_decoder(technique)),
        *("--model", weights(site.experiment, site.model, technique)),
        *("--served-model-name", served_name),
        *("--host", "127.0.0.1", "--port", str(port)),
        *(word for part in technique.parts for word in _dtype(part.method)),
        *site.experiment.server.args,
    ]


def _decoder(technique: Technique) -> list[str]:
    """The plain decoder, or the one that packs experts: to offload them, or as int8."""
    knobs, int8 = technique.knobs("expert-offload"), technique.knobs("int8") is not None
    if knobs is None and not int8:
        return ["causal"]
    options = options_of(knobs) if knobs is not None else OffloadOptions(share=EVERY_EXPERT)
    if int8:
        options = msgspec.structs.replace(options, experts="int8")
    return ["offload", *arguments_of(options)]


def _dtype(method: str) -> list[str]:
    return ["--dtype", DTYPES[method]] if method in DTYPES else []


def transformers_environment(group: ServerGroup, site: Site) -> dict[str, str]:
    gpu = {"CUDA_VISIBLE_DEVICES": site.gpus[0]} if site.gpus else {}
    return {"HF_HUB_DISABLE_PROGRESS_BARS": "1", **gpu, **dict(group.setup.server_env)}


def _start(group: ServerGroup, site: Site, port: int, served_name: str) -> ServerProcess:
    make_weights(group, site)
    try:
        return ServerProcess(
            transformers_command(group, site, port=port, served_name=served_name),
            log=site.folder / "server.log",
            env=transformers_environment(group, site),
            grace_s=site.stop_grace_s,
        )
    except OSError as error:
        raise ServerStartFailed(f"SERVER_MISSING: {error}", stage="launch") from error


async def _ready(
    process: ServerProcess, control: Control, served_name: str, site: Site, watch: Watch
) -> Session:
    await wait_until_listening(
        process,
        control,
        served_name=served_name,
        limit_s=site.experiment.server.start_timeout_s,
        watch=watch,
    )
    target = Target(base_url=control.base_url, model=served_name)
    watch.on_stage("proving the server ready")
    await prove_ready(target, control, ranks=1, vocab=site.model.vocab)

    def alive() -> None:
        if process.exit_code is not None:
            raise death(process)

    account = (await control.models())[0].get("details")
    said = msgspec.convert(account, dict[str, str | int | float])
    found = devices()
    return HttpSession(
        target=target,
        control=control,
        vocab=site.model.vocab,
        provenance="measured",
        gpu_type=found[0].gpu_type if found and said["device"] != "cpu" else "CPU",
        details={"command": list(process.command), "version": await control.version(), **said},
        num_warmups=site.experiment.num_warmups,
        client_workers=site.experiment.client_workers,
        alive=alive,
        pid=process.pid,
        gpus=tuple(int(index) for index in (site.gpus or ())[:1]),
    )
