"""How long the command line takes to start, and a study of 189 simulated runs to finish.

python benchmarks/command_line --rounds 7 --against ../another-checkout

Prints the least CPU time (user and system) and the least wall time of whole processes, and their
peak memory. With --against, the same commands of another checkout take turns with this one's: on
a machine that others use too, only such pairs can be compared.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STUDY = str(ROOT / "examples" / "parallelism_study.yaml")
MOESERVE = (sys.executable, "-m", "moeserve")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took from its start to its end."""

    cpu_s: float
    wall_s: float
    peak_bytes: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--against", type=Path, help="another checkout, to be paired with this one")
    asked = parser.parse_args()
    trees = [ROOT, *([asked.against.resolve()] if asked.against else [])]
    print(f"{'CPU s':>8} {'wall s':>8} {'MiB':>5}  least of {asked.rounds} rounds; peak memory")
    with tempfile.TemporaryDirectory() as folder:
        for what, command in commands(Path(folder)):
            show(what, trees, measure(command, trees, asked.rounds))


def commands(folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each command's name and arguments; the study is done once, for its results."""
    done = str(folder / "done")
    run(("run", STUDY, "-o", done, "-q", "--format", "csv"), ROOT)
    for told in (
        "--help", "run --help", "models", f"plan {STUDY} --format csv",
        f"estimate {STUDY} --format csv", f"results {done} --format csv",
    ):  # fmt: skip
        yield f"moeserve {told.replace(done, 'DIR').replace(STUDY, 'STUDY')}", tuple(told.split())
    yield "moeserve run STUDY (189 runs)", ("run", STUDY, "-q", "--format", "csv")


def measure(command: tuple[str, ...], trees: Sequence[Path], rounds: int) -> dict[Path, list[Cost]]:
    """Run the command in each tree in turn; the first round only warms caches."""
    found: dict[Path, list[Cost]] = {tree: [] for tree in trees}
    for number in range(rounds + 1):
        for tree in trees:
            cost = run(command, tree)
            if number:
                found[tree].append(cost)
    return found


def run(command: tuple[str, ...], tree: Path) -> Cost:
    """Run one command of a tree in an empty folder to its end."""
    env = {**os.environ, "PYTHONPATH": str(tree), "MOESERVE_DEBUG": "0"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        process = subprocess.Popen(
            [*MOESERVE, *command], cwd=folder, env=env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{tree}: moeserve {' '.join(command)}: exit code {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss * 1024)


def show(what: str, trees: Sequence[Path], found: dict[Path, list[Cost]]) -> None:
    for tree in trees:
        costs = found[tree]
        cpu_s, wall_s = min(c.cpu_s for c in costs), min(c.wall_s for c in costs)
        peak_mib = max(c.peak_bytes for c in costs) / 2**20
        print(f"{cpu_s:8.3f} {wall_s:8.3f} {peak_mib:5.0f}  {what}, {tree.name}", flush=True)


if __name__ == "__main__":
    main()
