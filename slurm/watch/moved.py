"""Submissions whose tasks work in another directory: this one was copied, or moved meanwhile.

A task's directory is part of what was submitted, and what it measures is published there.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from slurm.submit.submission import Submission

CHDIR = "--chdir="


def homes(root: Path, submissions: Iterable[Submission]) -> Mapping[str, Path]:
    """Return by token where a submission's tasks work, if that is not this directory."""
    told = ((each.token, _home(each)) for each in submissions)
    return {token: home for token, home in told if home is not None and not _same(home, root)}


def is_copy(token: str, home: Path) -> bool:
    """Whether the directory that the tasks work in has the submission still."""
    return (home / "slurm" / token / "submission.json").is_file()


def told_of(token: str, home: Path) -> str:
    """Say what it means for tasks that wait or run, with the way out."""
    if is_copy(token, home):
        return (
            f"tasks of submission {token} publish in {home}, of which this is a copy: look and "
            f"cancel there; without the folder slurm/{token} this one is a study of its own"
        )
    return (
        f"tasks of submission {token} work in {home}, which is not seen here: if this directory "
        "was moved they will fail. `moeserve slurm cancel` ends them, and `slurm collect --retry` "
        "then submits them for it"
    )


def _home(submission: Submission) -> Path | None:
    words = (word for array in submission.arrays for word in array.arguments)
    return next((Path(w.removeprefix(CHDIR)) for w in words if w.startswith(CHDIR)), None)


def _same(home: Path, root: Path) -> bool:
    try:
        return home.samefile(root)
    except OSError:
        return False
