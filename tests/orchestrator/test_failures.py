"""Server logs become classes: each known message its own, an unknown one the default."""

import asyncio
import sys
from pathlib import Path

import pytest

from orchestrator.engines.readiness import death
from orchestrator.failures import FAILURES, classify, may_pass
from orchestrator.process import ServerProcess

# As vLLM, PyTorch, NCCL and the kernel print them.
LOGS = {
    "SERVER_ARGS": "api_server.py: error: unrecognized arguments: --no-such-flag",
    "GPU_NOT_CLEAN": "ValueError: Free memory on device cuda:0 (3.2/39.4 GiB) on startup is less "
    "than desired GPU memory utilization (0.9, 35.46 GiB).",
    "HOST_MEMORY": "ValueError: Available memory on node 0 (13.08/17.71 GiB) on startup is less "
    "than desired CPU memory utilization (0.92, 16.3 GiB).",
    "OOM_KV": "ValueError: No available memory for the cache blocks. Try increasing "
    "`gpu_memory_utilization` when initializing the engine.",
    "OOM_GRAPH": "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  40%|####\n"
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.2 GiB.",
    "OOM_WEIGHTS": "Loading safetensors checkpoint shards: 10%\n"
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 896.00 MiB.",
    "GPU_FAULT": "RuntimeError: CUDA error: an illegal memory access was encountered",
    "PORT_CONFLICT": "torch.distributed.DistNetworkError: The server socket has failed to listen "
    "(errno: 98 - Address already in use).",
    "MODEL_FETCH": "huggingface_hub.errors.GatedRepoError: 401 Client Error.",
    "BAD_WEIGHTS": "E llama_model_load: error loading model: tensor 'output.weight' data is not "
    "within the file bounds, model is corrupted or incomplete",
    "DEVICE_MAP": "RuntimeError: CUDA error: invalid device ordinal",
    "COLLECTIVE_HANG": "[rank1]:[E] Watchdog caught collective operation timeout: WorkNCCL(...) "
    "ran for 600029 milliseconds before timing out.",
    "COMPILE_CACHE": "Loading /cache/vllm/torch_compile_cache/ab12/rank_0_0/x\n"
    "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
    "RANK_LOST": "ERROR Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down",
    "MISSING_MODULE": "ModuleNotFoundError: No module named 'flashinfer'",
}


@pytest.mark.parametrize(("code", "log"), LOGS.items())
def test_each_known_message_is_its_class_with_advice(code: str, log: str) -> None:
    found, advice = classify(f"INFO starting\n{log}\nINFO shutting down", "START_FAILED")
    assert found == code
    assert advice


def test_every_class_has_a_message_it_is_known_by() -> None:
    assert {known.code for known in FAILURES} == set(LOGS)


def test_memory_that_runs_out_after_the_graphs_are_captured_is_not_the_graphs() -> None:
    log = "Capturing CUDA graphs (x): 100%\nGraph capturing finished in 9 secs\nOutOfMemoryError"
    assert classify(log, "ENGINE_DEAD")[0] == "OOM_WEIGHTS"


def test_a_slow_broadcast_is_no_failure_by_itself() -> None:
    log = "No available shared memory broadcast block found in 60 seconds."
    assert classify(log, "ENGINE_DEAD") == ("ENGINE_DEAD", "see the end of the server's log")


def test_only_what_may_pass_is_tried_again() -> None:
    assert not any(may_pass(code) for code in ("OOM_WEIGHTS", "OOM_KV", "OOM_GRAPH", "SERVER_ARGS"))
    assert all(
        may_pass(code) for code in ("ENGINE_DEAD", "PORT_CONFLICT", "GPU_FAULT", "RANK_LOST")
    )


async def test_a_server_that_a_signal_ended_is_said_to_be_killed_by_it(tmp_path: Path) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    server = ServerProcess([sys.executable, "-c", program], log=tmp_path / "log", env={})
    async with asyncio.timeout(20):
        while server.exit_code is None:
            await asyncio.sleep(0.05)
    assert str(death(server)).startswith("ENGINE_DEAD: the server ended (killed by SIGILL); ")
