"""Whether a results directory holds all that was submitted for it; Slurm is not asked."""

from pathlib import Path

from orchestrator.results.store import Store
from slurm.submit.submission import SubmissionStore


def unfinished(root: Path) -> str:
    """Say how much of a submitted study is published, if it is not all; else nothing."""
    planned = {
        run.run_id for each in SubmissionStore(root).submissions() for run in each.plan().runs
    }
    published = len(planned & Store(root).finished()) if planned else 0
    if published == len(planned):
        return ""
    return (
        f"Not the whole study: {published:,} of {len(planned):,} planned runs are published, "
        f"{len(planned) - published:,} are missing."
    )
