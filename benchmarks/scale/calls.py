"""How many file-system calls a run and the start of its task cost, counted by strace.

    python benchmarks/scale/calls.py [RUNS]

Carries a study of one server out twice, with one run and with 1 + RUNS (16 by default), and prints
one JSON object: calls on the results directory for each further run, those of the first run's
process there, and those on everything else (the Python environment, which a shared one makes the
cluster's load). A call counts where it names a path, or a descriptor that lies there (`strace -y`).
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

CALLS = (
    "open,openat,creat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,"
    "stat,lstat,newfstatat,statx,access,faccessat,faccessat2,readlink,readlinkat,getdents64,"
    "fsync,fdatasync,chmod,fchmodat,utimensat,statfs,flock"
)
CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\(")


def counted(root: Path, log: Path, levels: int) -> tuple[Counter[str], Counter[str]]:
    """Run a study of so many loads; return the calls on its directory and those elsewhere."""
    loads = ",".join(str(each + 1) for each in range(levels))
    study = ["run", "--engine", "simulated", "-m", "OLMoE-1B-7B", "-s", "tp", "-w", "16:4:4",
             "-c", loads, "-q", "--format", "csv", "-o", str(root)]  # fmt: skip
    traced = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={CALLS}"]
    command = [*traced, sys.executable, "-m", "moeserve", *study]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    here: Counter[str] = Counter()
    runs = f"<{root}/runs>"
    elsewhere: Counter[str] = Counter()
    for line in log.read_text(errors="replace").splitlines():
        found = CALL.match(line)
        if found:
            (here if str(root) in line else elsewhere)[found[1]] += 1
            # A folder's end is a listing's last call: it gives nothing.
            here["listings of runs"] += found[1] == "getdents64" and runs in line and " = 0" in line
    return here, elsewhere


def main() -> None:
    more = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    with tempfile.TemporaryDirectory() as folder:
        one, outside = counted(Path(folder) / "one", Path(folder) / "log", 1)
        many, _ = counted(Path(folder) / "many", Path(folder) / "log", 1 + more)
    one_listings, many_listings = (each.pop("listings of runs") for each in (one, many))
    each = {name: round((many[name] - one[name]) / more, 2) for name in sorted(many)}
    print(
        json.dumps(
            {
                "further_runs": more,
                "calls_of_a_further_run": round(sum(each.values()), 1),
                "by_name": each,
                "calls_of_a_task_on_its_results": sum(one.values()),
                "listings_of_a_task": one_listings,
                "listings_of_a_further_run": round((many_listings - one_listings) / more, 2),
                "calls_of_a_task_elsewhere": sum(outside.values()),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
