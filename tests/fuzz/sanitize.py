"""The compiled reader under AddressSanitizer and UndefinedBehaviorSanitizer, fuzzed.

`make sanitize` runs it for under a minute, `make sanitize SECONDS=600` for ten. The module is built
into a temporary folder, the installed one stays as it is. Half of the time goes to the reader's own
methods with right and wrong arguments, half to the whole client against a server that lies.

Leaks are not LeakSanitizer's to find: an interpreter frees little at its end, and its report would
be all of that. Both programs compare their open files and memory with those of the beginning.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRANSPORT = ROOT / "workloads" / "transport"
SOURCE, SENDS = TRANSPORT / "_native.c", TRANSPORT / "_native_send.c"
COMPILER = os.environ.get("CC", "cc")
FLAGS = (
    "-shared", "-fPIC", "-g", "-O1", "-fno-omit-frame-pointer", "-DPy_LIMITED_API=0x030B0000",
    "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all",
    "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-Wno-cast-function-type",
)  # fmt: skip
PROGRAMS = ("tests.fuzz.reader_calls", "tests.fuzz.reader_client")
MODULE = "MOESERVE_SANITIZED_READER"
"""Where the two programs are told which module to load."""
FAULT = ("0 <= limit && limit <= view->len / item", "limit * item <= view->len")
"""A check of the reader, and the one with an overflow that it once was: fuzzing must find it."""
GRACE_S = 120.0
LAST_LINES = 80


def build(source: Path, folder: Path) -> Path:
    """Compile the reader with both sanitizers; return the module."""
    target = folder / "_native.abi3.so"
    include = sysconfig.get_path("include")
    sources = (str(source), str(SENDS))
    subprocess.run([COMPILER, *FLAGS, f"-I{include}", *sources, "-o", str(target)], check=True)
    return target


def environment(module: Path) -> dict[str, str]:
    """What a Python that was built without sanitizers needs to load such a module."""
    names = ("libasan.so", "libubsan.so")
    found = [
        subprocess.run(
            [COMPILER, f"-print-file-name={name}"], check=True, capture_output=True, text=True
        ).stdout.strip()
        for name in names
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(found),
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=32",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # else Python's own pools hide the ends of its objects
        "PYTHONPATH": str(ROOT),
        MODULE: str(module),
    }


def run(module: Path, program: str, seconds: float, seed: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", program, "--seconds", str(seconds), "--seed", str(seed)]
    return subprocess.run(
        command, cwd=ROOT, env=environment(module), capture_output=True, text=True,
        timeout=seconds + GRACE_S,
    )  # fmt: skip


def finds_a_fault(folder: Path, seed: int) -> bool:
    """Whether the same fuzzing reports a reader with a fault of long ago put back."""
    broken = folder / "broken.c"
    right, wrong = FAULT
    text = SOURCE.read_text()
    assert text.count(right) == 1, "the check has another form now: say so in FAULT"
    broken.write_text(text.replace(right, wrong))
    ended = run(build(broken, folder), PROGRAMS[0], 5.0, seed)
    return ended.returncode != 0 and (
        "Sanitizer" in ended.stderr or "runtime error" in ended.stderr
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=40.0, help="for both programs together")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not finds_a_fault(Path(folder), given.seed):
            sys.exit("the fuzzing did not notice an overflow that was put back: it proves nothing")
        module = build(SOURCE, Path(folder))
        for program in PROGRAMS:
            ended = run(module, program, given.seconds / len(PROGRAMS), given.seed)
            print(ended.stdout, end="", flush=True)
            if ended.returncode:
                print(*ended.stderr.splitlines()[-LAST_LINES:], sep="\n", file=sys.stderr)
                sys.exit(f"{program} ended with {ended.returncode}")


if __name__ == "__main__":
    main()
