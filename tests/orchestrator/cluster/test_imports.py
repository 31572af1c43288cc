"""Ray stays where it belongs."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("moeserve", "analysis", "slurm", "orchestrator", "workloads", "perfmodel",
            "strategies", "catalog")  # fmt: skip
IMPORT = re.compile(r"^\s*(?:import|from) ray\b", re.MULTILINE)


def test_only_the_cluster_package_imports_ray() -> None:
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    importing = {path.parent for path in files if IMPORT.search(path.read_text())}
    assert importing == {ROOT / "orchestrator" / "cluster"}


def test_planning_for_a_cluster_does_not_load_ray_into_the_command() -> None:
    program = (
        "import sys, orchestrator.cluster.launch, moeserve.cli;"
        "raise SystemExit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
