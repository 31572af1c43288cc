"""What a results directory already tells of durations: of runs, and of servers' starts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.experiment.server_group import ServerGroup
from orchestrator.results.manifests import Manifest, read_manifests
from orchestrator.results.record import MEASURED

ServerKind = tuple[str, str, str]
"""Engine, model and technique: what a server loads, and who loads it."""
TOO_SHORT = ("START_TIMEOUT", "TIME_LIMIT")
"""Failures after which the starts that were seen do not say how long one may take."""


@dataclass(frozen=True, slots=True)
class Starts:
    """Server starts that proved ready."""

    count: int
    longest_s: float


@dataclass(frozen=True, slots=True)
class Earlier:
    """Measured durations; what is missing here was never measured."""

    runs_s: Mapping[str, float]
    """The longest of each cell."""
    starts: Mapping[ServerKind, Starts]


NOTHING = Earlier({}, {})


def kind_of(group: ServerGroup) -> ServerKind:
    setup = group.setup
    return setup.engine, setup.model, setup.technique.name


def earlier(root: Path) -> Earlier:
    """Read the runs of a results directory, if it is one."""
    if not (root / "runs").is_dir():
        return NOTHING
    manifests = read_manifests(root)
    return Earlier(_runs(manifests), _starts(manifests))


def _runs(manifests: Iterable[Manifest]) -> dict[str, float]:
    longest: dict[str, float] = {}
    for record in (manifest.record for manifest in manifests):
        if record.duration is not None and record.provenance == MEASURED:
            longest[record.cell_id] = max(longest.get(record.cell_id, 0.0), record.duration)
    return longest


def _starts(manifests: Iterable[Manifest]) -> dict[ServerKind, Starts]:
    seen: dict[ServerKind, dict[str, float]] = {}
    unbounded: set[ServerKind] = set()
    for manifest in manifests:
        record, start_s = manifest.record, manifest.details.get("start_s")
        kind = (record.engine, record.model, record.technique)
        if any(code in record.verdict_reasons for code in TOO_SHORT):
            unbounded.add(kind)
        if isinstance(start_s, int | float) and 0 <= start_s < float("inf"):
            seen.setdefault(kind, {})[record.server_group] = float(start_s)
    return {
        kind: Starts(len(starts), max(starts.values()))
        for kind, starts in seen.items()
        if kind not in unbounded
    }
