"""llama.cpp's own server, started, loaded and compared with transformers on the same weights."""

import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from catalog.errors import ServerStartFailed
from orchestrator.engine import LaunchContext
from orchestrator.engines.llamacpp.engine import facts_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.ports import port_range
from tests.machine import limit, until

PROMPTS, INPUT_LEN, OUTPUT_LEN = 8, 20, 48
EXACT = ("--flash-attn", "off", "--cache-type-k", "f32", "--cache-type-v", "f32")
"""llama.cpp's own choices keep keys and values in 16 bits."""
RUN = (sys.executable, "-m", "moeserve", "run", "--engine", "llamacpp", "-m", "tiny-mixtral")

pytestmark = pytest.mark.slow


def prompts() -> list[list[int]]:
    drawn = np.random.default_rng(3).integers(1, 512, (PROMPTS, INPUT_LEN))
    return [[int(token) for token in row] for row in drawn]


@contextlib.contextmanager
def server(file: Path, *flags: str) -> Iterator[str]:
    with port_range() as ports:
        url = f"http://127.0.0.1:{ports.start}"
        words = ("--model", str(file), "--port", str(ports.start), "--threads", "1",
                 "--no-cache-prompt", *flags)  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.engines.llamacpp.server", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until(lambda: process.poll() is not None or healthy(url))
            assert process.poll() is None
            yield url
        finally:
            process.terminate()
            assert process.wait(limit(30)) == 0


def healthy(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url + "/health"):
        return True
    return False


def greedy(url: str) -> list[list[int]]:
    """Ask llama.cpp's own endpoint, which returns the tokens, for each prompt's continuation."""
    found = []
    for prompt in prompts():
        body = {"prompt": prompt, "n_predict": OUTPUT_LEN, "ignore_eos": True, "temperature": 0,
                "return_tokens": True}  # fmt: skip
        asked = urllib.request.Request(url + "/completion", json.dumps(body).encode())
        with urllib.request.urlopen(asked) as reply:
            found.append(json.load(reply)["tokens"])
    return found


def by_transformers(checkpoint: Path) -> list[list[int]]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint).eval()
    with torch.no_grad():
        made = model.generate(
            torch.tensor(prompts()),
            max_new_tokens=OUTPUT_LEN,
            min_new_tokens=OUTPUT_LEN,
            do_sample=False,
        )
    return [[int(token) for token in row[INPUT_LEN:]] for row in made]


def test_the_file_in_single_precision_gives_the_tokens_of_transformers(files: Any) -> None:
    with server(files.f32, *EXACT) as url:
        ours = greedy(url)
    pairs = zip(ours, by_transformers(files.checkpoint), strict=True)
    # Log-probabilities differ by 1e-5: of so many choices one may be as near as that elsewhere.
    assert sum(one == other for one, other in pairs) >= PROMPTS - 1


def test_experts_on_the_host_change_no_token(files: Any) -> None:
    with server(files.q8) as url:
        plain = greedy(url)
    for flags in (["--cpu-moe"], ["--n-cpu-moe", "1"]):
        with server(files.q8, *flags) as url:
            assert greedy(url) == plain


def test_a_study_over_files_and_places_is_measured_and_counted_right(
    files: Any, tmp_path: Path
) -> None:
    techniques = f"gguf:{files.f32},gguf:{files.q8},gguf:{files.q8}+host-experts"
    study = ["-s", "single", "-t", techniques, "-w", "16:16:8", "-c", "1,4", "-o", str(tmp_path)]
    done = subprocess.run(
        [*RUN, *study, "--format", "json", "--server-arg=--threads", "--server-arg=1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 5), done.stderr[-3000:]
    rows = json.loads(done.stdout)
    assert len(rows) == 6
    for row in rows:
        assert (row["engine"], row["provenance"], row["gpu_type"]) == (
            "llamacpp",
            "measured",
            "CPU",
        )
        assert (row["completed"], row["failed"]) == (8, 0)
        assert row["total_output_tokens"] == row["server_generation_tokens"] == 8 * 16
        assert row["total_input_tokens"] == row["server_prompt_tokens"] == 8 * 16
        assert row["server_prefix_cache_hits"] == 0
        assert row["kv_tokens_capacity"] == 4 * 256
    whole, eighth = (
        next(row["model_memory_bytes"] for row in rows if row["technique"] == f"gguf:{file}")
        for file in (files.f32, files.q8)
    )
    assert 0.25 < eighth / whole < 0.3
    assert not serving(tmp_path)


def test_the_details_of_a_run_say_what_served_it(files: Any, tmp_path: Path) -> None:
    study = ["-t", f"gguf:{files.q8}", "-w", "16:4:2", "-c", "1", "-o", str(tmp_path)]
    subprocess.run([*RUN, *study], capture_output=True, check=False)
    (manifest,) = (tmp_path / "runs").glob("*.json")
    details = json.loads(manifest.read_text())["details"]["server"]
    assert details["quantisation"] == "Q8_0"
    assert details["observed_layout"] == "single"
    assert details["gguf_bytes"] == files.q8.stat().st_size
    assert details["device"] == "cpu"
    assert details["version"].startswith("xllamacpp 20")


def test_a_file_cut_within_its_weights_fails_once_with_a_reason(files: Any, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(files.q8.read_bytes()[:-1000])
    study = ["-t", f"gguf:{cut}", "-w", "16:4:2", "-c", "1", "-o", str(tmp_path / "out")]
    done = subprocess.run([*RUN, *study], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "BAD_WEIGHTS" in done.stderr
    records = (json.loads(each.read_text()) for each in (tmp_path / "out" / "failed").iterdir())
    # On a busy machine a first start may end for a reason that passes.
    reasons = [each["record"]["verdict_reasons"] for each in records]
    assert reasons.count("BAD_WEIGHTS") == 1, reasons


def test_quality_is_refused_in_one_line(files: Any, tmp_path: Path) -> None:
    words = ["quality", "--engine", "llamacpp", "-m", "tiny-mixtral", "-t", f"gguf:{files.q8}"]
    done = subprocess.run(
        [sys.executable, "-m", "moeserve", *words, "-o", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "gives no probabilities of a prompt" in done.stderr


def serving(folder: Path) -> bool:
    """Whether a server writes its log under this folder."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if "orchestrator.engines.llamacpp.server" in process.cmdline():
                log = Path(f"/proc/{process.pid}/fd/2").resolve()
                if log.is_relative_to(folder):
                    return True
    return False


def test_a_build_for_the_cpu_is_refused_where_a_gpu_is_given(files: Any, tmp_path: Path) -> None:
    import msgspec

    from orchestrator.engines.llamacpp.checks import OWN_SERVER
    from orchestrator.experiment.server_group import ServerGroup
    from orchestrator.plan import make_plan

    study = Experiment(
        engine="llamacpp", models=("tiny-mixtral",), techniques=(f"gguf:{files.q8}",),
        workloads=("16:4:2",), concurrency="1",
    )  # fmt: skip
    planned = make_plan(study, "llamacpp")
    (group,) = planned.groups
    on_gpu = ServerGroup(msgspec.structs.replace(group.setup, hardware="H100"), 0, group.runs)
    context = LaunchContext(study, planned.models["tiny-mixtral"], tmp_path, ("0",))
    with pytest.raises(ServerStartFailed, match=r"DEVICE_MAP: .* built for the CPU"):
        facts_of(on_gpu, context, list(OWN_SERVER))
