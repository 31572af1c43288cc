import os
from pathlib import Path

import pytest

from catalog.errors import BadValue
from moeserve.cli.slurm_submit import SubmitRequest
from orchestrator.host.scratch import scratch
from slurm.job.place import SCRATCH_PREFIX
from slurm.job.task import main
from tests.slurm.memory_slurm import MemorySlurm
from tests.slurm.studies import small, submit


def test_caches_are_on_the_node_and_gone_after_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    monkeypatch.setenv("VLLM_CACHE_ROOT", "/mine")
    left = tmp_path / "moeserve-task-killed"
    left.mkdir()
    (left / ".lock").touch()
    with scratch(str(tmp_path), SCRATCH_PREFIX):
        assert Path(os.environ["TRITON_CACHE_DIR"]).is_relative_to(tmp_path)
        assert os.environ["VLLM_CACHE_ROOT"] == "/mine"
        with scratch(str(tmp_path), SCRATCH_PREFIX):
            assert len(list(tmp_path.iterdir())) == 2
    assert list(tmp_path.iterdir()) == []
    assert "TRITON_CACHE_DIR" not in os.environ


def test_a_site_s_own_name_for_its_scratch_is_read_on_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = small(engine="vllm", strategies=("tp2",), hardware="A100-80GB")
    cluster, root = MemorySlurm(), tmp_path / "out"
    submit(cluster, root, SubmitRequest(real, {"scratch": "$SITE_SCRATCH"}))
    arguments = list(cluster._jobs[1].command[4:])
    task = {"SLURM_JOB_ID": "1", "SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0"}
    with pytest.raises(BadValue, match=r"scratch.*\$SITE_SCRATCH.*a folder on the node"):
        main(arguments, task)
    (tmp_path / "local").mkdir()
    monkeypatch.setenv("SITE_SCRATCH", str(tmp_path / "local"))
    used: list[str] = []

    def seen(base: str, _: str) -> None:
        used.append(base)
        raise InterruptedError

    monkeypatch.setattr("slurm.job.place.scratch", seen)
    with pytest.raises(InterruptedError):
        main(arguments, task)
    assert used == [str(tmp_path / "local")]
