"""A server measured on a GPU that no row describes, and on one that only the user knows."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.preview import preview
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows

ROW = """
hardware: My-GPU
memory_bytes: 48e9
bandwidth_bytes_per_s: 900e9
bfloat16_flops_per_s: 180e12
price_per_hour_usd: 0.5
driver_names: [NVIDIA Mine 48GB]
"""


def measured(tmp_path: Path, hardware: str | None) -> tuple[str, dict[str, Any]]:
    """Run one server process as vLLM's; return what was said first and the run's row."""
    experiment = Experiment(
        models=("OLMoE-1B-7B",), strategies=("single",), workloads=("16:4:4",), concurrency="2",
        engine="vllm", hardware=hardware,
        server=ServerOptions(command=(sys.executable, "-m", "servers.simulated")),
    )  # fmt: skip

    async def whole() -> str:
        study = await prepare(experiment)
        (shown,) = preview(study)
        await run_study(study, tmp_path / "out", listen=lambda _: None)
        return f"{study.notice}|{shown['gpu_type']}|{shown['expected_wall_s']}"

    told = asyncio.run(whole())
    (row,) = run_rows(tmp_path / "out")
    return told, dict(row)


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_rows_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_an_unknown_gpu_is_measured_under_its_drivers_name_with_one_note(
    nvml: Any, tmp_path: Path
) -> None:
    for gpu in nvml.gpus:
        gpu.name, gpu.total_bytes = "NVIDIA T1000", 8 * 2**30
    told, row = measured(tmp_path, None)
    assert told.startswith("no row describes NVIDIA T1000")
    assert told.endswith("|NVIDIA T1000|None")
    assert (row["gpu_type"], row["completed"]) == ("NVIDIA T1000", 4)
    assert "IMPOSSIBLE" not in str(row["verdict_reasons"])
    assert row.get("usd_per_million_output_tokens") is None


def test_a_gpu_that_only_the_user_knows_is_recorded_under_the_name_of_its_row(
    nvml: Any, tmp_path: Path
) -> None:
    for gpu in nvml.gpus:
        gpu.name, gpu.total_bytes = "NVIDIA Mine 48GB", 48_000_000_000
    (tmp_path / "mine.yaml").write_text(ROW)
    told, row = measured(tmp_path, str(tmp_path / "mine.yaml"))
    assert told.startswith("|My-GPU#")
    assert not told.endswith("None")
    assert str(row["gpu_type"]).startswith("My-GPU#")
    assert row["usd_per_million_output_tokens"]
