"""The runs that a results directory is to hold, by name: for those who look on from outside."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from catalog.errors import ResultsError
from catalog.inside import read_inside
from orchestrator.experiment.cells import Run
from orchestrator.host.files import write_durably

FILE = "planned.json"


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of a plan."""

    name: str
    num_prompts: int


class Planned(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All runs of the plan that was last carried out here."""

    runs: dict[str, PlannedRun]
    """By run id."""


def keep_planned(root: Path, runs: Iterable[Run]) -> None:
    """Write down what is going to be done."""
    planned = Planned(
        runs={
            run.run_id: PlannedRun(name=run_name(run), num_prompts=run.cell.num_prompts)
            for run in runs
        }
    )
    write_durably(root / FILE, msgspec.json.encode(planned))


def read_planned(root: Path) -> Planned | None:
    """Return what is to be done; None where nobody wrote it down: an import, a search."""
    try:
        data = read_inside(root, FILE)
    except FileNotFoundError:
        return None
    try:
        return msgspec.json.decode(data, type=Planned)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ResultsError(f"{root / FILE}: is damaged: {error}") from error


def run_name(run: Run) -> str:
    """Name a run by what a reader knows of it: `Mixtral-8x7B tp decode-heavy c=8`."""
    cell = run.cell
    load = f"c={cell.load.max_concurrency}" if cell.load.max_concurrency else ""
    rate = f"{cell.load.request_rate:g}/s" if cell.load.request_rate else ""
    parts = (cell.setup.model, cell.setup.strategy, cell.workload.name, load, rate)
    return " ".join(part for part in parts if part)
