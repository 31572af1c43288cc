"""The benchmark's own programs in C: built, started, asked."""

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import Any

HERE = Path(__file__).parent


def build() -> Path:
    """Compile the server and the floor client; returns the folder they are in."""
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit("benchmarks/loadgen needs a C compiler named cc")
    folder = Path(tempfile.mkdtemp(prefix="loadgen-"))
    for name in ("server", "floor"):
        command = [compiler, "-O2", "-o", str(folder / name), str(HERE / f"{name}.c")]
        subprocess.run(command, check=True)
    return folder


@dataclass(frozen=True, slots=True)
class Mode:
    """When the server sends: microseconds to the first token and between sends, tokens a send."""

    name: str
    ttft_us: int
    itl_us: int
    per_send: int


MODES = {
    mode.name: mode
    for mode in (
        Mode("paced", 50_000, 10_000, 1),
        Mode("fast", 50_000, 4_000, 1),
        Mode("flat", 0, 0, 1),
        Mode("flat16", 0, 0, 16),
    )
}


@dataclass(frozen=True, slots=True)
class ReferenceServer:
    """The reference server, on a port of the loopback."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        self._get("/reset")

    def truth(self) -> dict[str, Any]:
        """What it sent since the last reset, and when."""
        return dict(json.loads(self._get("/stats")))

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def serving(folder: Path, mode: Mode) -> Iterator[ReferenceServer]:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    numbers = [str(number) for number in (port, mode.ttft_us, mode.itl_us, mode.per_send)]
    process = subprocess.Popen([folder / "server", *numbers], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield ReferenceServer(port)
    finally:
        process.kill()
        process.wait()
