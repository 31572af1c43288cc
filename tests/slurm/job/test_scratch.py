import os
from pathlib import Path

import pytest

from orchestrator.host.scratch import scratch
from slurm.job.task import SCRATCH_PREFIX


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
