"""The highest load that still meets the SLOs: doubling, then bisection, as a pure state machine."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class LoadSearch:
    """Ask `next_level()`, run it, `record()` the outcome, until there is no next level.

    Levels double from `start` until one fails (or `limit` passes), then the border between the
    highest that passed and the lowest that failed is halved until it is within `resolution` of
    the lower (and, for whole levels, until the two are neighbours). A start that fails is halved
    downwards in the same way. At most two runs are spent for each halving of the border.
    """

    start: float = 1
    limit: float = 1024
    resolution: float = 0.05
    whole: bool = True
    smallest: float = 1
    passed: float | None = None
    """The highest level known to meet the SLOs."""
    failed: float | None = None
    """The lowest level known not to."""
    tried: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 < self.smallest <= self.start <= self.limit or self.resolution <= 0:
            raise ValueError(f"0 < smallest <= start <= limit must hold: {self}")

    def next_level(self) -> float | None:
        """Return the level to try now; None when the answer is known."""
        if self.passed is None and self.failed is None:
            return self.start
        if self.failed is None:
            return self._doubled()
        if self.passed is None:
            return self._halved(self.failed)
        return self._between(self.passed, self.failed)

    def record(self, level: float, *, met: bool) -> None:
        """Record whether a level met the SLOs; one outside the open range is refused."""
        if met and (self.failed is None or level < self.failed):
            self.passed = max(level, self.passed or 0)
        elif not met and (self.passed is None or level > self.passed):
            self.failed = min(level, self.failed or level)
        else:
            raise ValueError(f"level {level} was not asked for: {self}")
        self.tried.append(level)

    def _doubled(self) -> float | None:
        if self.passed is None or self.passed >= self.limit:
            return None
        return min(2 * self.passed, self.limit)

    def _halved(self, failed: float) -> float | None:
        if failed <= self.smallest:
            return None
        half = failed // 2 if self.whole else failed / 2
        return max(half, self.smallest)

    def _between(self, passed: float, failed: float) -> float | None:
        if failed - passed <= self.resolution * passed:
            return None
        if not self.whole:
            return (passed + failed) / 2
        middle = (passed + failed) // 2
        return middle if passed < middle < failed else None
