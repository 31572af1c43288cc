"""`moeserve serve`: one server of a layout in the foreground."""

import asyncio
import contextlib
import errno
import signal
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from catalog.errors import BadValue
from moeserve.cli.show import note
from orchestrator.engines.registry import choices

if TYPE_CHECKING:
    from orchestrator.engines.kind import ServerCommand

POLL_S = 0.2

SERVE_HELP = """Start one server of a layout in the foreground; Ctrl-C ends it and all it started.

Examples:

  moeserve serve --engine simulated --model mixtral --strategy ep --port 8000

  moeserve serve --engine vllm --model tiny-olmoe --strategy tp
"""


def add_to(app: typer.Typer) -> None:
    app.command("serve", help=SERVE_HELP)(serve)


def serve(
    model: Annotated[str, typer.Option("--model", "-m", help="Name, id or path.")] = "OLMoE-1B-7B",
    strategy: Annotated[str, typer.Option("--strategy", "-s", help="One layout.")] = "single",
    technique: Annotated[
        str, typer.Option("--technique", "-t", help="One: see moeserve techniques.")
    ] = "none",
    gpus: Annotated[int | None, typer.Option("--gpus", help="Degree of tp, ep, tp+ep.")] = None,
    engine: Annotated[
        str,
        typer.Option("--engine", help=f"{', '.join(choices())}."),
    ] = "auto",
    hardware: Annotated[
        str | None,
        typer.Option("--hardware", help="GPU to simulate, or a file; default A100-80GB."),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on.")] = 8000,
    served_name: Annotated[
        str | None, typer.Option("--served-model-name", help="Default: the model's name.")
    ] = None,
    server_arg: Annotated[
        list[str] | None, typer.Option("--server-arg", help="Passed on to the server; repeatable.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", help="Simulated only: die-after-tokens=100, hang-after-tokens, …"),
    ] = None,
) -> None:
    from orchestrator.experiment.experiment import Experiment, ServerOptions
    from orchestrator.serve import foreground

    refuse_taken(host, port)
    experiment = Experiment(
        models=(model,),
        strategies=(strategy,),
        techniques=(technique,),
        gpus=gpus,
        engine=engine,
        hardware=hardware,
        workloads=("1:1:1",),
        concurrency="1",
        server=ServerOptions(args=tuple(server_arg or ())),
    )
    server = foreground(
        experiment, served_name=served_name, port=port, host=host, faults=fault or ()
    )
    if server.notice:
        note(server.notice)
    raise typer.Exit(asyncio.run(_run(server.command)))


async def _run(command: "ServerCommand") -> int:
    from orchestrator.host.process import OWN_STDERR, ServerProcess, Within

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    process = ServerProcess(
        command.words, log=OWN_STDERR, env=command.env, within=Within(command.cores)
    )
    try:
        while process.exit_code is None and not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), POLL_S)
    finally:
        code = process.exit_code
        await process.stop()
    if stop.is_set():
        return 130
    return 3 if code else 0


def refuse_taken(host: str, port: int, *, flag: str = "--port") -> None:
    """Raise BadValue where something else listens already, or the address is not ours."""
    if not 0 < port < 65536:
        raise BadValue(flag, port, "from 1 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BadValue(flag, port, f"a free port: another program has it on {host}") from None
        allowed = f"an address of this host: {error.strerror or error}"
        raise BadValue("--host", f"{host}:{port}", allowed) from None
