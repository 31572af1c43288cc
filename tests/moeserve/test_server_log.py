"""`moeserve doctor --log FILE` explains any server's log, and what it does not tell is null."""

import json
import os
from pathlib import Path

import pytest

from moeserve.cli import main
from tests import server_logs

Capture = pytest.CaptureFixture[str]
KEYS = ("layout", "kv_tokens_capacity", "stage", "failure", "lasting", "advice")
LASTING = {"yes": (True,), "no": (False,), "either": (True, False, None)}


def run(capsys: Capture, *words: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["doctor", *words])
    except SystemExit as leave:
        code = int(leave.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_every_log_of_a_healthy_server_is_explained(capsys: Capture) -> None:
    for row in server_logs.table("ok"):
        code, out, err = run(
            capsys, "--log", str(server_logs.ROOT / row["file"]), "--format", "json"
        )
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert found.keys() >= set(KEYS)
        layout = None if row["layout"].startswith("unreadable") else row["layout"]
        tokens = int(row["kv_tokens_capacity"]) if row["kv_tokens_capacity"] else None
        told = {name: found[name] for name in KEYS}
        assert told == {
            "layout": layout, "kv_tokens_capacity": tokens, "stage": "ready", "failure": None,
            "lasting": None, "advice": None,
        }  # fmt: skip


@pytest.mark.slow
def test_every_log_of_a_failure_is_explained(capsys: Capture) -> None:
    for row in server_logs.table("fail"):
        code, out, _ = run(capsys, "--log", str(server_logs.ROOT / row["file"]), "--format", "json")
        found = json.loads(out)
        assert code == 0
        assert found["failure"] in row["expected_class"].split("|")
        assert found["lasting"] in LASTING[row["lasting"]]
        assert found["advice"]
        assert found["stage"]


@pytest.mark.parametrize("content", [b"", b"nothing\n", b"\x00\xff\xfe" * 100])
def test_of_what_is_no_servers_log_nothing_is_known(
    content: bytes, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    code, out, _ = run(capsys, "--log", str(path), "--format", "json")
    assert code == 0
    assert {json.loads(out)[name] for name in KEYS} == {None}


def test_it_is_a_table_and_csv_too(capsys: Capture) -> None:
    log = str(server_logs.ROOT / "fail/oom_kv_v1.log")
    _, table, _ = run(capsys, "--log", log)
    assert "OOM_KV" in table
    assert "34736" in table
    _, text, _ = run(capsys, "--log", log, "--format", "csv")
    assert text.startswith(",".join(KEYS))


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, word in (("none", "no such log"), (".", "is a folder"), ("pipe", "is a pipe")):
        code, out, err = run(capsys, "--log", str(tmp_path / path))
        assert (code, out) == (2, "")
        assert word in err
        assert err.count("\n") == 1
    code, _, err = run(capsys, "--log", "x", "--ray")
    assert code == 2
    assert "one of the two" in err


def test_secrets_in_a_log_are_masked_and_its_escapes_do_not_reach_the_terminal(
    tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "log"
    path.write_text("Traceback (most recent call last):\nKeyError: 'x\x1b[2J' token=hf_" + "a" * 30)
    for output in ("table", "json", "csv"):
        _, out, _ = run(capsys, "--log", str(path), "--format", output)
        assert "START_FAILED" in out
        assert "aaaa" not in out
        assert "\x1b[2J" not in out


SGLANG = """[2026-01-02 03:04:05] server_args=ServerArgs(model_path='org/moe-a', tp_size=2)
[2026-01-02 03:04:06 TP0] Load weight begin. avail mem=78.59 GB
[2026-01-02 03:04:07 TP0] Load weight end. type=QwenMoe, dtype=torch.bfloat16, avail mem=4.19 GB
[2026-01-02 03:04:08 TP0] Scheduler hit an exception: Traceback (most recent call last):
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 192.00 MiB.
"""
TENSORRT = """[TensorRT-LLM] TensorRT LLM version: 1.1.0
[07/08/2026-19:45:15] [TRT-LLM] [I] Using LLM with PyTorch backend
[07/08/2026-19:47:15] [TRT-LLM] [RANK 1] [E] Failed to initialize executor: insufficient GPU memory.
INFO:     Application startup complete.
"""


@pytest.mark.parametrize(
    ("log", "server", "error"),
    [
        (SGLANG, "SGLang", "torch.OutOfMemoryError: CUDA out of memory"),
        (TENSORRT, "TensorRT-LLM", "Failed to initialize executor"),
        ("time=2026 level=ERROR source=sched.go:456 msg=\"out of memory\"\n", "Ollama", ""),
        ("[TM][ERROR] CUDA runtime error: out of memory /lmdeploy/src/x.h:246\n", "LMDeploy", ""),
    ],
)  # fmt: skip
def test_a_log_of_another_server_is_named_and_not_classified_by_the_words_of_vllm(
    log: str, server: str, error: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "log"
    path.write_text(log)
    _, out, _ = run(capsys, "--log", str(path), "--format", "json")
    found = json.loads(out)
    assert found.pop("server") == server
    advice = found.pop("advice")
    assert server in advice
    assert error in advice
    assert set(found.values()) == {None}


def test_a_log_of_vllm_with_lines_of_tensorrt_llm_s_kernels_stays_vllm_s(
    tmp_path: Path, capsys: Capture
) -> None:
    row = next(row for row in server_logs.table("fail") if "oom_kv_v1" in row["file"])
    path = tmp_path / "log"
    path.write_text("[TensorRT-LLM][WARNING] a kernel says so\n" + server_logs.text(row))
    _, out, _ = run(capsys, "--log", str(path), "--format", "json")
    found = json.loads(out)
    assert (found["server"], found["failure"]) == ("vLLM", "OOM_KV")
