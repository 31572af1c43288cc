"""`moeserve watch`: a running study in the browser."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from catalog.errors import BadFile
from catalog.python import python_module
from moeserve.cli.serve import refuse_taken
from moeserve.cli.show import note
from orchestrator.results.given import ENDING

WATCH_HELP = """Show a study in the browser: progress, results so far, failures with their logs.

It reads the results directory alone, so the study may run elsewhere. On loopback, for this machine:
from another one `ssh -L 8300:127.0.0.1:8300 HOST`.

Example: moeserve watch out --port 8300
"""
PORT = 8300
NICE = 10
END_S = 10.0


def add_to(app: typer.Typer) -> None:
    app.command("watch", help=WATCH_HELP)(watch)


def watch(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A results directory.")],
    port: Annotated[int, typer.Option("--port", help="Port on loopback; 0 takes a free one.")] = (
        PORT
    ),
    beside_run: Annotated[bool, typer.Option("--beside-run", hidden=True)] = False,
) -> None:
    if directory.name.endswith(ENDING) and directory.is_file():
        still = f"is a packed study, in which nothing happens: moeserve report {directory}"
        raise BadFile(directory, still)
    from orchestrator.results.manifests import require_results

    if beside_run:
        os.nice(NICE)  # what is measured comes first
    else:
        require_results(directory)
        if port:
            refuse_taken("127.0.0.1", port)
    asyncio.run(_serve(directory, port, beside_run=beside_run))


async def _serve(directory: Path, port: int, *, beside_run: bool) -> None:
    from analysis.watch.server import serve_page

    end, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, end.set)
    if beside_run:

        def wait_for_its_end() -> None:
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(end.set)

        threading.Thread(target=wait_for_its_end, daemon=True).start()
    await serve_page(directory, port, until=end, tell=typer.echo, linger=beside_run)


@contextlib.contextmanager
def live_page(directory: Path, port: int | None) -> Iterator[None]:
    """Serve the page of a directory as long as the block takes, from a process of its own.

    What loads the server shares its loop with nothing; the page ends with this process however
    this process ends, and tells who looks how the study ended.
    """
    if port is None:
        yield
        return
    refuse_taken("127.0.0.1", port, flag="--live")
    command = [*python_module("moeserve"), "watch", str(directory), "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--beside-run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the study
    )
    note(f"watch it at http://127.0.0.1:{port}/")
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
