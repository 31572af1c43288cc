"""A campaign: `python -m tests.fuzz answers=1000000 gguf=100000 --seed 1`.

Each target runs in a process of its own. Reported are the inputs read, those that ended in an
exception that is none of ours, the slowest by its own processor time, and by how much memory grew.
"""

import argparse
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from random import Random

MOST_S = 2.0
MOST_GROWN_MB = 500.0
MOST_TOLD = 20
LIMIT_BYTES = 6 * 2**30
REPORT_EVERY = 20_000


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def campaign(name: str, count: int, seed: int) -> int:
    """Read so many inputs of one target; return how many were faults of ours."""
    from tests.fuzz.targets import TARGETS

    os.fsync = lambda _: None  # what a disk makes of it is not asked here
    warnings.simplefilter("ignore")
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    target, faults, slowest, begun = TARGETS[name], 0, 0.0, peak_mb()
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        for number in range(count):
            rng, begin = Random(f"{seed}/{name}/{number}"), time.process_time()
            try:
                target.once(rng, Path(folder))
            except Exception:
                faults += 1
                if faults <= MOST_TOLD:
                    print(f"{name} {number}:", traceback.format_exc()[-1500:], flush=True)
            took = time.process_time() - begin
            slowest = max(slowest, took)
            if took > MOST_S:
                faults += 1
                print(f"{name} {number}: took {took:.1f} s", flush=True)
            if (number + 1) % REPORT_EVERY == 0:
                print(f"{name}: {number + 1} so far, {faults} faults", flush=True)
    grown = peak_mb() - begun
    print(
        f"{name}: {count} inputs, {faults} faults, slowest {slowest:.2f} s, memory +{grown:.0f} MB"
    )
    return faults + (grown > MOST_GROWN_MB)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def asked(text: str) -> str:
    from tests.fuzz.targets import TARGETS

    name, _, count = text.partition("=")
    if name not in TARGETS or not count.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: TARGET=COUNT, of {', '.join(TARGETS)}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", metavar="TARGET=COUNT", type=asked)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if len(given.targets) == 1:
        name, _, count = given.targets[0].partition("=")
        sys.exit(campaign(name, int(count), given.seed) > 0)
    failed = False
    for target in given.targets:
        command = [sys.executable, "-m", "tests.fuzz", target, "--seed", str(given.seed)]
        failed |= subprocess.run(command, check=False).returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
