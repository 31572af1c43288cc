"""Kill `moeserve run` with -9 at random moments while it has real server processes, and resume.

Example: python benchmarks/chaos --kills 200

Prints one line a kill; ends with 0 when no server outlived its kill by 30 s, every run was
published once, and `verify` finds nothing.
"""

import argparse
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from orchestrator.host.process import MARKER
from orchestrator.results.store import Store
from orchestrator.verify import verify_directory

SERVER = f"{sys.executable} -m servers.simulated"
LONGEST_LIFE_S = 30.0


def command(out: Path, replicates: int) -> list[str]:
    study = ["--model", "OLMoE-1B-7B", "--strategy", "tp,ep", "--workload", "16:8:4", "-c", "1,2"]
    server = ["--server-command", SERVER, "--server-arg=--hardware=H100"]
    run = [sys.executable, "-m", "moeserve", "run", "--engine", "vllm", *study, *server]
    return [*run, "--num-runs", str(replicates), "-o", str(out)]


def servers() -> Iterator[psutil.Process]:
    """Processes that a moeserve started as, or for, a server."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARKER):
                yield process


def gone_after() -> float:
    """Wait for the last server to go; return how long that took."""
    began = time.monotonic()
    while any(servers()):
        if time.monotonic() - began > LONGEST_LIFE_S:
            raise SystemExit(f"alive {LONGEST_LIFE_S:.0f} s after the kill: {list(servers())}")
        time.sleep(0.05)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--replicates", type=int, default=40)
    parser.add_argument("--longest", type=float, default=6.0, help="seconds before a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        for kill in range(asked.kills):
            process = subprocess.Popen(
                command(out, asked.replicates),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            life_s = rng.uniform(0.2, asked.longest)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(life_s)
            process.kill()
            process.wait()
            done = len(Store(out).finished()) if out.exists() else 0
            print(f"{kill + 1}: killed at {life_s:.2f} s, servers gone after {gone_after():.2f} s, "
                  f"{done} runs published", flush=True)  # fmt: skip
        code = subprocess.run(command(out, asked.replicates), check=False).returncode
        wanted = 4 * asked.replicates
        problems = verify_directory(out)
        print(f"resumed: exit {code}, {len(Store(out).finished())} of {wanted} runs, {problems}")
        raise SystemExit(bool(problems) or len(Store(out).finished()) != wanted)


if __name__ == "__main__":
    main()
