"""A copy of the tree, and forks of a warm process that run a file of tests in it."""

import contextlib
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import hypothesis
import psutil
import pytest
from mutants import Mutant, mutated

HEAVY = (
    "numpy", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.optimize", "statsmodels.api",
    "statsmodels.formula.api", "sklearn.ensemble", "matplotlib.pyplot", "hypothesis.extra.numpy",
    "aiohttp", "uvloop", "msgspec.yaml", "typer.testing", "rich.console", "psutil", "yaml",
    "jinja2",
)  # fmt: skip
"""Loaded once, before the forks; a mutant's module is loaded in the fork alone."""
WARM = "ignore::pytest.PytestAssertRewriteWarning"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LONGEST_S, SLOWER = 180.0, 4.0
"""A file that is not done by then hangs, if it takes a quarter of that without the change."""
LOG, UNSHRUNK = "tests.log", "unshrunk"
FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+?\.py)", re.MULTILINE)
"""In pytest's summary."""
BUSY = {"MOESERVE_TEST_SLOWNESS": "8"}
"""The probe of how busy the machine is would be made anew in each fork."""


def copy_tree(root: Path, folder: Path) -> Path:
    """Copy what git knows or would take, and compiled modules."""
    listing = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=root, check=True, capture_output=True, text=True).stdout
    compiled = [str(each.relative_to(root)) for each in root.glob("*/*/*.so")]
    for name in [*names.split("\0")[:-1], *compiled]:
        source, target = root / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=True)
    return folder


class Bench:
    """Runs files of tests in the copy, with a mutant or without."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.known: dict[str, tuple[bool, float]] = {}
        self.changes = 0
        os.environ.update(dict.fromkeys(THREADS, "1"), PYTHONPATH=str(tree), MPLBACKEND="Agg")
        os.environ.update(BUSY)
        sys.path.insert(0, str(tree))
        for name in HEAVY:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)

    @property
    def failing(self) -> set[str]:
        return {file for file, (passes, _) in self.known.items() if not passes}

    def unchanged(self, file: str) -> tuple[bool, float]:
        """Say whether a file of tests passes in the tree as it is, and how long that takes."""
        if file not in self.known:
            began = time.monotonic()
            passes = self._run([file], LONGEST_S) == 0
            self.known[file] = passes, time.monotonic() - began
        return self.known[file]

    def noticed_by(
        self, mutant: Mutant, files: Sequence[str], enough_s: float
    ) -> tuple[str | None, int]:
        """Return the first of these files that fails with a mutant alone, and how many were run.

        None where none did; of several files that are not done in time it is not known which.
        """
        left = list(files)
        while left:
            code = self._changed(mutant, left, enough_s)
            failed = FAILED.search((self.tree / LOG).read_text(errors="replace"))
            if code == 0 or (code is None and len(left) > 1):
                return None, len(files) if code == 0 else 0
            file = failed[1] if failed and failed[1] in left else left[0]
            passes, takes_s = self.unchanged(file)
            if passes and (code is not None or takes_s < enough_s / SLOWER):
                return file, files.index(file) + 1
            left = left[left.index(file) + 1 :]
        return None, len(files)

    def _changed(self, mutant: Mutant, files: Sequence[str], longest_s: float) -> int | None:
        path = self.tree / mutant.path
        text, times = path.read_text(), path.stat()
        self.changes += 1
        try:
            path.write_text(mutated(self.tree, mutant))
            # Compiled modules are known by the source's time: no two changes share one.
            os.utime(path, (times.st_atime, times.st_mtime + 10 * self.changes))
            return self._run(files, longest_s)
        finally:
            path.write_text(text)
            os.utime(path, (times.st_atime, times.st_mtime))

    def _run(self, files: Sequence[str], limit_s: float) -> int | None:
        """Return pytest's exit code, None for one that hangs; no quick tests at all are a pass."""
        child = os.fork()
        if not child:
            self._test(files)
        deadline, status = time.monotonic() + limit_s, 0
        ended = 0
        while not ended and time.monotonic() < deadline:
            time.sleep(0.01)
            ended, status = os.waitpid(child, os.WNOHANG)
        _end_all_below(child)
        if not ended:
            os.waitpid(child, 0)
            return None
        code = os.waitstatus_to_exitcode(status)
        return 0 if code == pytest.ExitCode.NO_TESTS_COLLECTED else code

    def _test(self, files: Sequence[str]) -> None:
        code = 1
        try:
            _shrink_nothing()
            os.setsid()
            os.chdir(self.tree)
            quiet = os.open(self.tree / LOG, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            for stream in (1, 2):
                os.dup2(quiet, stream)
            scratch = self.tree.parent / "scratch"
            code = int(
                pytest.main(
                    ["-x", "-q", "-m", "not slow", "-W", WARM, "-p", "no:cacheprovider",
                     "-p", "no:xdist",
                     f"--basetemp={scratch}", f"--hypothesis-profile={UNSHRUNK}", *files]
                )
            )  # fmt: skip
        except BaseException:  # noqa: BLE001 (nothing may come out of a fork)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)


def _shrink_nothing() -> None:
    """Let Hypothesis stop at the first example that fails: a smaller one would say no more."""
    phases = [phase for phase in hypothesis.Phase if phase.name not in ("shrink", "explain")]
    hypothesis.settings.register_profile(UNSHRUNK, deadline=None, phases=phases)


def _end_all_below(child: int) -> None:
    """End a fork that hangs, with all that it started."""
    with contextlib.suppress(psutil.Error):
        for each in [*psutil.Process(child).children(recursive=True), psutil.Process(child)]:
            with contextlib.suppress(psutil.Error):
                each.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
