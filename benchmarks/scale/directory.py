"""How long the commands take on a results directory of ten thousand runs, and how much memory.

    python benchmarks/scale/directory.py [REPLICATES [FOLDER]]

Makes the 189 cells of examples/slurm_study.yaml with the simulated engine, 54 replicates of each by
default: 10,206 runs. Then one JSON object a command of whole processes, before and after `results
compact`: seconds of wall and CPU, bytes at the peak, files in the directory. A FOLDER keeps what
was made.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STUDY = Path(__file__).parents[2] / "examples" / "slurm_study.yaml"


def timed(words: list[str], root: Path) -> dict[str, object]:
    """Time `moeserve WORDS`, its output thrown away."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "moeserve", *words]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    return {
        "command": " ".join(words[:2] if "compact" in words else words[:1]),
        "exit": os.waitstatus_to_exitcode(status),
        "wall_s": round(time.perf_counter() - start, 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_bytes": used.ru_maxrss * 1024,
        "files": sum(len(files) for _, _, files in os.walk(root)),
        "folders": sum(len(folders) for _, folders, _ in os.walk(root)),
    }


def main() -> None:
    replicates = sys.argv[1] if len(sys.argv) > 1 else "54"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(temporary)
        root, page = folder / "out", folder / "report.html"
        read = (
            ["results", str(root)],
            ["verify", str(root)],
            ["report", str(root), "-o", str(page)],
            ["compare", str(root)],
        )
        made = ["run", str(STUDY), "--num-runs", replicates, "-q", "-o", str(root)]
        for words in (made, *read, ["results", "compact", str(root)], *read):
            print(json.dumps(timed(words, root)), flush=True)


if __name__ == "__main__":
    main()
