"""A llama.cpp server that already runs, over each of its APIs."""

import contextlib
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from orchestrator.host.ports import port_range
from tests.by_endpoint import check, measured
from tests.machine import limit, until

pytestmark = pytest.mark.slow


def healthy(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url + "/health"):
        return True
    return False


async def test_a_running_server_counts_as_the_client_does(tmp_path: Path, files: Any) -> None:
    with port_range() as ports:
        url = f"http://127.0.0.1:{ports.start}"
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "orchestrator.engines.llamacpp.server", "--metrics"),
                *("--model", str(files.f32), "--port", str(ports.start), "--threads", "1"),
                *("--parallel", "2", "--ctx-size", "1024", "--no-cache-prompt"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: process.poll() is not None or healthy(url))
            assert process.poll() is None
            rows = await measured(url, tmp_path)
        finally:
            process.terminate()
            process.wait(limit(30))
    check(rows)
