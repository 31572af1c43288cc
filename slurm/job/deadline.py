"""When a task's time is over, and whether a run still fits before that."""

import time
from collections.abc import Mapping

START_SHARE = 1.2
"""A run may take this much longer than expected."""


class Deadline:
    """The end of a task's time, on this host's monotonic clock."""

    def __init__(self, *, ends_in_s: float | None, margin_s: float) -> None:
        self._ends_at_s = None if ends_in_s is None else time.monotonic() + ends_in_s
        self._margin_s = margin_s

    def left_s(self) -> float | None:
        """Return the seconds left for work, clean-up taken off; None without a limit."""
        if self._ends_at_s is None:
            return None
        return self._ends_at_s - time.monotonic() - self._margin_s

    def fits(self, expected_s: float | None) -> bool:
        """Return whether a run of this length fits the time left; one of unknown length does."""
        left_s = self.left_s()
        if left_s is None:
            return True
        return left_s > START_SHARE * (expected_s or 0.0)

    def near(self, lead_s: float) -> None:
        """Bring the end forward: Slurm signals that it is at most so far off."""
        end_s = time.monotonic() + lead_s
        if self._ends_at_s is None or end_s < self._ends_at_s:
            self._ends_at_s = end_s


def deadline_of(
    environment: Mapping[str, str], *, margin_s: float, limit_s: float | None
) -> Deadline:
    """Read the end of this job from Slurm's variables (23.02 and later), else count from now."""
    text = environment.get("SLURM_JOB_END_TIME", "")
    ends_in_s = int(text) - time.time() if text.isdecimal() else limit_s
    return Deadline(ends_in_s=ends_in_s, margin_s=margin_s)
