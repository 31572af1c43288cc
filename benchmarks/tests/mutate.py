"""Change the source in small ways, and see whether the quick tests notice.

    export PYTHONPATH=$PWD/benchmarks/tests COVERAGE_RCFILE=benchmarks/tests/coverage.ini
    python -m coverage run -m pytest -p which_file -m "not slow"
    python -m coverage combine
    python benchmarks/tests/mutate.py --sample 200 --seed 1 --by-file .coverage

draws mutants of `modules.txt`, one a line at most, and prints who lived and the share that was
killed, by package. A mutant is killed when a test of its package fails that passes without it;
files of tests that ran its line are tried, the nearest first. With no `--by-file` those
of the package are, in the same order. `equivalent.txt` lists changes that change nothing.
All happens in a copy of the tree (Linux, since each file of tests runs in a fork of a process
that has the heavy libraries loaded). Needs the extras `dev` and `analysis`, and coverage.py.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from forks import Bench, copy_tree
from mutants import Mutant, mutants
from nearby import Nearby

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant: the file that killed it, or how many it outlived."""

    mutant: Mutant
    killer: str | None
    tried: int
    of: int


def drawn(lines: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Draw so many lines that have mutants, and one mutant of each."""
    rng = random.Random(seed)
    by_line: dict[tuple[str, int], list[Mutant]] = {}
    for path in lines:
        for mutant in mutants(ROOT, path):
            by_line.setdefault((path, mutant.line), []).append(mutant)
    places = rng.sample(sorted(by_line), min(count, len(by_line)))
    return [rng.choice(by_line[place]) for place in places]


def try_one(bench: Bench, nearby: Nearby, mutant: Mutant, enough_s: float) -> Outcome:
    """Run the nearest file, then all others together, until one fails or enough time went by."""
    files, tried = nearby.files(mutant.path, mutant.line), 0
    for some in (files[:1], files[1:]):
        killer, done = bench.noticed_by(mutant, some, enough_s)
        tried += done
        if killer is not None:
            return Outcome(mutant, killer, tried, len(files))
    return Outcome(mutant, None, tried, len(files))


def listed(name: str) -> list[str]:
    texts = (HERE / name).read_text().splitlines()
    return [text.strip() for text in texts if text.strip() and not text.startswith("#")]


def is_equivalent(mutant: Mutant) -> bool:
    """A line of `equivalent.txt` has path, line as it reads, and change: numbers do not last."""
    line = (ROOT / mutant.path).read_text().splitlines()[mutant.line - 1].strip()
    return any(
        text.split(" | ")[:3] == [mutant.path, line, mutant.change]
        for text in listed("equivalent.txt")
    )


def report(outcomes: Sequence[Outcome]) -> str:
    """Return a table: killed, tried and share by package."""
    package = {each.mutant: each.mutant.path.split("/")[0] for each in outcomes}
    tried = Counter(package[each.mutant] for each in outcomes)
    killed = Counter(package[each.mutant] for each in outcomes if each.killer)
    lines = [f"{name:14}{killed[name]:5}{tried[name]:5}{killed[name] / tried[name]:7.0%}"
             for name in sorted(tried)]  # fmt: skip
    total, of = sum(killed.values()), sum(tried.values())
    return "\n".join([*lines, f"{'all':14}{total:5}{of:5}{total / max(of, 1):7.0%}"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--by-file", type=Path, help="data of coverage.py, see above")
    parser.add_argument("--only", default="", help="modules whose path begins so")
    parser.add_argument("--enough", type=float, default=180.0, help="most seconds of tests for one")
    parser.add_argument("--all", action="store_true", help="every mutant, without drawing")
    return parser.parse_args()


def chosen(asked: argparse.Namespace) -> list[Mutant]:
    """`--only` may end in a line: `workloads/figures/drift.py:58`."""
    path, _, line = asked.only.partition(":")
    modules = [module for module in listed("modules.txt") if module.startswith(path)]
    if asked.all or line:
        every = [mutant for module in modules for mutant in mutants(ROOT, module)]
        return [mutant for mutant in every if not line or mutant.line == int(line)]
    return drawn(modules, asked.sample, asked.seed)


def main() -> None:
    asked = arguments()
    everyone = chosen(asked)
    non_equivalent = [mutant for mutant in everyone if not is_equivalent(mutant)]
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        bench = Bench(copy_tree(ROOT, Path(folder) / "tree"))
        nearby = Nearby(bench.tree, asked.by_file)
        for number, mutant in enumerate(non_equivalent, 1):
            began = time.monotonic()
            outcome = try_one(bench, nearby, mutant, asked.enough)
            outcomes.append(outcome)
            fate = outcome.killer or f"LIVES after {outcome.tried} of {outcome.of} files"
            took = f"{number}/{len(non_equivalent)} {time.monotonic() - began:.0f} s"
            print(f"{took}  {mutant}  [{fate}]", file=sys.stderr, flush=True)
        for file in sorted(bench.failing):
            print(f"left out, since it fails unchanged: {file}")
    print(f"seed {asked.seed}: {len(everyone)} drawn, "
          f"{len(everyone) - len(non_equivalent)} known to change nothing")  # fmt: skip
    print(report(outcomes))
    for outcome in outcomes:
        if outcome.killer is None:
            print(f"{outcome.mutant}  (after {outcome.tried} of {outcome.of} files)")


if __name__ == "__main__":
    main()
