"""Re-read a results directory: is everything that was published still there, whole and true?"""

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from catalog.errors import ResultsError
from catalog.python import safe_children
from orchestrator.results.manifests import (
    Manifest,
    as_published,
    read_each_or_problem,
    run_files,
    unfinished,
)
from orchestrator.results.record import RunRecord
from orchestrator.results.rows import RowsSource, transcript_of
from workloads.figures.metrics import Summary
from workloads.figures.summary import figures_of
from workloads.transcript import clean_error

WORTH_MORE_CORES = 400
"""Runs from which on the start of further Pythons pays."""
MOST_CORES, RUNS_AT_ONCE = 8, 64
UNREADABLE = (
    OSError, ValueError, LookupError, TypeError, ArithmeticError, AttributeError,
    NotImplementedError,
)  # fmt: skip
"""What reading damaged rows, and making figures of them, raises."""
SUMS_OF_PROMPTS = ("total_input_tokens", "total_token_throughput")
"""Empty where nobody counted a prompt; runs of before that was so have the sum of the others."""
_FIELDS = frozenset(RunRecord.__struct_fields__)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one run."""

    run_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class Share:
    """What one process found of the runs that it was given."""

    run_ids: Sequence[str]
    problems: Sequence[Problem]


def verify_directory(root: Path) -> list[Problem]:
    """Check hashes, counts and identities, and recompute every summary from its rows.

    Of many runs on all cores of this process, each of which reads its own share of the manifests;
    problems come in the order of the runs.
    """
    names, cores = run_files(root), _cores()
    shares = [names[at : at + RUNS_AT_ONCE] for at in range(0, len(names), RUNS_AT_ONCE)]
    check = partial(_published_runs, root)
    if len(names) < WORTH_MORE_CORES or cores == 1:
        found = list(map(check, shares))
    else:
        # A fresh interpreter each: a fork would copy whatever threads hold here.
        context = multiprocessing.get_context("spawn")
        with safe_children(), ProcessPoolExecutor(cores, context) as pool:
            found = list(pool.map(check, shares))
    finished = {run_id for share in found for run_id in share.run_ids}
    problems = [problem for share in found for problem in share.problems]
    return [*problems, *_of(root, unfinished(root, finished))]


def _published_runs(root: Path, names: Sequence[str]) -> Share:
    # First all manifests, then all rows: in bundles each kind lies together.
    found = list(read_each_or_problem(root, "runs", names))
    torn = [
        Problem(name.removesuffix(".json"), str(each))
        for name, each in zip(names, found, strict=True)
        if isinstance(each, ResultsError)
    ]
    manifests = [each for each in found if isinstance(each, Manifest)]
    ids = [manifest.record.run_id for manifest in manifests]
    return Share(ids, [*torn, *_of(root, manifests)])


def checked_and_bare(root: Path) -> tuple[int, int]:
    """How many published runs have rows to recompute their figures from, and how many none."""
    runs = read_each_or_problem(root, "runs", run_files(root))
    has_rows = [bool(each.files) for each in runs if isinstance(each, Manifest)]
    return sum(has_rows), len(has_rows) - sum(has_rows)


def _of(root: Path, manifests: Iterable[Manifest]) -> Iterator[Problem]:
    """Yield the problems of all that has files."""
    return chain.from_iterable(_problems(root, each) for each in manifests if each.files)


def _cores() -> int:
    here = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return min(MOST_CORES, len(here) or os.cpu_count() or 1)


def _problems(root: Path, manifest: Manifest) -> list[Problem]:
    wrong: list[str] = []
    rows: RowsSource | None = None
    for file in manifest.files:
        try:
            source = as_published(root, file)
        except ResultsError as error:
            wrong.append(str(error))
        else:
            rows = source if rows is None and file.path.endswith("/requests.parquet") else rows
    if not wrong:
        wrong = ["it has no request rows"] if rows is None else list(_figures(manifest, rows))
    return [Problem(manifest.record.run_id, problem) for problem in wrong]


def _figures(manifest: Manifest, source: RowsSource) -> Iterator[str]:
    record = manifest.record
    try:
        rows = transcript_of(source)
        figures = partial(
            figures_of,
            rows,
            goodput=manifest.details.get("goodput") or {},
            max_concurrency=record.max_concurrency,
        )
        summary = figures(percentiles_of_few=record.provenance == "imported")
    except UNREADABLE as error:
        what = clean_error(f"{type(error).__name__}: {error}")
        yield f"its request rows cannot be read: {what}"
        return
    arithmetic: Summary = {}
    if len(rows) != record.num_prompts:
        yield f"{len(rows)} request rows for {record.num_prompts} requests"
    for name, value in summary.items():
        stored = getattr(record, name) if name in _FIELDS else record.extra.get(name)
        if value is None and name in SUMS_OF_PROMPTS:
            continue
        if value is None and stored is not None:
            # Earlier releases published percentiles of fewer samples: too bold, and yet no change.
            arithmetic = arithmetic or figures(percentiles_of_few=True)
            value = arithmetic[name]
        if stored != value and not (stored != stored and value != value):  # NaN is NaN
            yield f"{name} was published as {stored}, its rows give {value}"
