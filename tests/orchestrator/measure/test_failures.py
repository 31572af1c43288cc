"""Server logs become classes: each known message its own, an unknown one the default."""

import re
import sys
from pathlib import Path
from re import _constants as constants  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from catalog.errors import ServerDied, ServerStartFailed
from orchestrator.host.process import ServerProcess
from orchestrator.measure.failure_table import table
from orchestrator.measure.failures import Failure, classify, diagnose, is_retryable
from orchestrator.measure.readiness import server_died
from tests import server_logs
from tests.machine import until_async

LASTING = {"yes": (True,), "no": (False,), "either": (True, False, None)}
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.2 GiB."
READY = "INFO:     Application startup complete.\n"


def found(log: str) -> Failure:
    failure = diagnose(log)
    assert failure is not None
    return failure


@pytest.mark.slow
@pytest.mark.parametrize("row", server_logs.table("fail"), ids=lambda row: row["file"])
def test_a_log_of_a_failure_is_its_class_with_advice(row: dict[str, str]) -> None:
    failure = found(server_logs.text(row))
    assert failure.code in row["expected_class"].split("|")
    assert failure.lasting in LASTING[row["lasting"]]
    assert failure.advice


@pytest.mark.parametrize("row", server_logs.table("ok"), ids=lambda row: row["file"])
def test_a_log_of_a_healthy_server_is_no_failure(row: dict[str, str]) -> None:
    assert diagnose(server_logs.text(row)) is None


@pytest.mark.parametrize(("code", "lasting", "message"), list(server_logs.wordings()))
def test_each_wording_is_known_in_a_whole_log_and_alone(
    code: str, lasting: bool | None, message: str
) -> None:
    prefixes = ("{}", "vllm-1  | {}", "2025-10-14T10:41:47.1Z stderr F {}", "ERROR:    {}")
    syslog = "Oct 14 10:41:47 node-a vllm[123]: {}"
    for log in (server_logs.START, *prefixes, syslog):
        failure = found(log.format(message))
        assert (failure.code, failure.lasting) == (code, lasting)


def test_every_class_has_a_message_it_is_known_by() -> None:
    expected = (row["expected_class"].split("|") for row in server_logs.table("fail"))
    in_logs = {code for codes in expected for code in codes}
    tried = in_logs | {code for code, _, _ in server_logs.wordings()}
    assert {known.code for known in table().classes} <= tried | {"ENGINE_DEAD"}


def test_every_wording_compiles_and_advice_names_only_its_own_groups() -> None:
    for known in table().classes:
        for wording in known.wordings:
            groups = dict.fromkeys(wording.pattern.groupindex, "1")
            assert (wording.advice or known.advice).format(**groups)


REPEATS = (constants.MAX_REPEAT, constants.MIN_REPEAT, constants.POSSESSIVE_REPEAT)


def _unbounded(parsed: Any) -> bool:
    for operation, value in parsed:
        inner = {constants.SUBPATTERN: lambda v: [v[-1]], constants.BRANCH: lambda v: v[1]}
        if operation in REPEATS and (value[1] == constants.MAXREPEAT or _unbounded(value[2])):
            return True
        if operation in inner and any(map(_unbounded, inner[operation](value))):
            return True
    return False


def test_no_wording_looks_further_than_so_many_characters() -> None:
    patterns = [table().never, table().always]
    patterns += [wording.pattern for known in table().classes for wording in known.wordings]
    assert [p.pattern for p in patterns if _unbounded(parser.parse(p.pattern, p.flags))] == []


@pytest.mark.parametrize(
    ("before", "code"),
    [
        ("Starting to load model m", "OOM_WEIGHTS"),
        ("Model loading took 12.5 GiB memory", "OOM_ACTIVATIONS"),
        ("GPU KV cache size: 1,000 tokens\nCapturing CUDA graphs:  40%|####", "OOM_GRAPH"),
        ("Capturing CUDA graphs (x): 100%\nGraph capturing finished in 9 secs", "OOM_SAMPLER"),
        ("Loading safetensors\n  File \"x.py\", line 1, in allocate_kv_cache", "OOM_KV"),
        ("Starting to load model m\n  File \"x.py\", line 5, in profile_run", "OOM_ACTIVATIONS"),
        (READY.strip(), "OOM_SERVING"),
    ],
)  # fmt: skip
def test_memory_that_runs_out_is_told_by_what_the_server_was_doing(before: str, code: str) -> None:
    assert found(f"{before}\n{OOM}\n").code == code


def test_the_first_cause_goes_ahead_of_what_follows_it() -> None:
    log = server_logs.START.format(
        "ValueError: Total number of attention heads (40) must be divisible by tensor parallel "
        "size (16).\nRuntimeError: NCCL error: unhandled system error\n" + OOM
    )
    assert found(log).code == "LAYOUT_INVALID"


def test_a_cause_goes_ahead_of_the_general_and_that_of_who_died_of_it() -> None:
    died = "Worker proc VllmWorker-1 died unexpectedly, shutting down executor.\n"
    nccl = "torch.distributed.DistBackendError: NCCL error in: x.cpp:1, remote process exited\n"
    assert found(died + nccl + OOM).code == "OOM_WEIGHTS"
    assert found(died + nccl).code == "NCCL"
    assert found(died).code == "RANK_LOST"


def test_what_stands_before_a_server_was_ready_did_not_end_it() -> None:
    survived = "ModuleNotFoundError: No module named 'optional'\n"
    assert diagnose(survived + READY) is None
    assert found(survived + READY + "EngineDeadError: EngineCore encountered an issue\n").code == (
        "ENGINE_DEAD"
    )


def test_a_server_that_was_told_to_stop_did_not_fail() -> None:
    stopped = READY + "INFO:     Shutting down\n"
    died = "ERROR 10-14 [core_client.py:1] Engine core proc EngineCore died unexpectedly\n"
    assert diagnose(stopped + died) is None
    assert found(READY + died + "INFO:     Shutting down\n").code == "RANK_LOST"


def test_a_clients_bad_request_is_no_failure_of_the_server() -> None:
    request = "ERROR pydantic_core.ValidationError: 1 validation error for CompletionRequest\n"
    assert diagnose(READY + request) is None
    assert found(READY + request + OOM).code == "OOM_SERVING"


def test_warnings_and_information_are_no_cause() -> None:
    harmless = (
        "WARNING 10-14 [_custom_ops.py:20] Failed to import from vllm._C with "
        "ModuleNotFoundError(\"No module named 'vllm._C'\")\n"
        "WARNING 10-14 [utils.py:1] fd limit errors like `OSError: Too many open files`\n"
        "[W516 10:32:00 socket.cpp:200] [c10d] The client socket failed (errno: 97)\n"
        "node-a:1:2 [0] NCCL INFO Call to connect failed, retrying\n"
    )
    assert diagnose(harmless) is None
    assert found(harmless + "Traceback (most recent call last):\nKeyError: 'x'").code == (
        "START_FAILED"
    )


def test_a_cause_far_above_the_end_of_a_long_log_is_found() -> None:
    follows = "ERROR 10-14 [x.py:1] Traceback (most recent call last):\n" + "ERROR   frame\n" * 9000
    log = READY + OOM + "\n" + follows + "EngineDeadError: EngineCore encountered an issue\n"
    assert found(log).code == "OOM_SERVING"


def test_only_the_last_of_several_starts_in_a_log_counts() -> None:
    first = "INFO vLLM API server version 0.26.0\n" + server_logs.START.format(OOM)
    assert diagnose(first + "INFO vLLM API server version 0.26.0\n" + READY) is None
    other = server_logs.START.format("OSError: [Errno 98] Address already in use")
    assert found(first + other).code == "PORT_CONFLICT"


@pytest.mark.parametrize("colour", ["\x1b[1;31m{}\x1b[0m", " [1;31m{} [0m"])
def test_colours_quotes_and_a_terminals_wrapping_hide_no_cause(colour: str) -> None:
    message = "ValueError: Total number of attention\nheads (40) must be divisible by tensor\n"
    assert found(colour.format(message + "parallel size (16).")).code == "LAYOUT_INVALID"
    assert found("FileNotFoundError: No such file or directory: ‘nvcc’").code == "JIT_COMPILER"


def test_advice_passes_on_what_the_server_estimates() -> None:
    log = (
        "ValueError: To serve at least one request with the models's max seq len (262144), (24.0 "
        "GiB KV cache is needed, which is larger than the available KV cache memory (3.18 GiB). "
        "Based on the available memory, the estimated maximum model length is 34736."
    )
    assert "--max-model-len 34736" in found(log).advice


def test_a_log_that_is_cut_off_while_the_server_starts_is_no_failure() -> None:
    assert diagnose(server_logs.START.split("(Worker_TP1")[0]) is None
    assert diagnose("") is None


def test_a_slow_broadcast_is_no_failure_by_itself() -> None:
    log = "No available shared memory broadcast block found in 60 seconds."
    assert classify(log, "ENGINE_DEAD").code == "ENGINE_DEAD"


def test_only_what_may_pass_is_tried_again() -> None:
    lasting = ("OOM_WEIGHTS", "OOM_KV", "LAYOUT_INVALID", "SERVER_ARGS", "CONFIG_DRIFT")
    assert not any(map(is_retryable, lasting))
    passing = ("ENGINE_DEAD", "PORT_CONFLICT", "GPU_FAULT", "RANK_LOST", "NODE_LOST")
    assert all(map(is_retryable, passing))


def test_what_a_log_says_of_lasting_goes_ahead_of_its_class() -> None:
    assert is_retryable(ServerStartFailed("MODEL_FETCH: the hub is away", lasting=False))
    assert not is_retryable(ServerDied("NCCL: x", lasting=True))
    assert not is_retryable(ServerStartFailed("MODEL_FETCH: gated"))


async def test_a_server_that_a_signal_ended_is_said_to_be_killed_by_it(tmp_path: Path) -> None:
    program = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    server = ServerProcess([sys.executable, "-c", program], log=tmp_path / "log", env={})
    await until_async(lambda: server.exit_code is not None)
    assert str(server_died(server)).startswith("ENGINE_DEAD: the server ended (killed by SIGILL); ")
    await server.stop()


PAGE = Path(__file__).parents[3] / "docs" / "reliability.md"


def test_the_page_says_of_each_class_whether_it_is_tried_again() -> None:
    text = PAGE.read_text()
    lasting, passing = (
        set(re.findall(r"`([A-Z_]{4,})`", text.split(begin)[1].split("\n- ")[0].split("\n\n")[0]))
        for begin in ("- last, and are not tried again:", "- may pass:")
    )
    assert {known.code for known in table().classes} <= lasting | passing
    assert {code for code in lasting | passing if not is_retryable(code)} == lasting
    assert {"CONFIG_DRIFT", "BAD_NODES", "NOT_READY", "SERVER_MISSING"} <= lasting
