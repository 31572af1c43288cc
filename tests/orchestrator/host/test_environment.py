"""What a run was made with is written down as it is."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.host.environment import describe

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_a_checkout_is_described_by_its_commit() -> None:
    told = subprocess.run(
        ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    )
    described = describe()["source_revision"]
    assert described is not None
    assert told.stdout.startswith(described.removesuffix("-dirty").rpartition("-g")[2])
