"""Run-to-run noise for simulated servers: what repeated launches of a real one show."""

import numpy as np

from perfmodel.arrays import FloatArray

BLOCK = 4096


class Noise:
    """Factors on step times: one log-normal for the launch, and one for each step by its number.

    The sigmas are those of the logarithm; the mean factor is 1. A step's factor depends on its
    number alone, not on how the steps are asked for.
    """

    def __init__(self, rng: np.random.Generator, *, launch_sigma: float, step_sigma: float) -> None:
        self._rng = rng
        self._step_sigma = step_sigma
        self._launch = float(_factors(rng, launch_sigma, 1)[0])
        self._drawn = np.empty(0)

    def sibling(self) -> "Noise":
        """Noise of another replica of the same launch: its own steps, the same launch factor."""
        other = Noise(self._rng.spawn(1)[0], launch_sigma=0.0, step_sigma=self._step_sigma)
        other._launch = self._launch
        return other

    def factors(self, first: int, count: int) -> FloatArray:
        """Return the factors of steps `first` to `first + count`, shape (count,)."""
        while len(self._drawn) < first + count:
            more = _factors(self._rng, self._step_sigma, BLOCK)
            self._drawn = np.concatenate((self._drawn, more * self._launch))
        return self._drawn[first : first + count]


def _factors(rng: np.random.Generator, sigma: float, count: int) -> FloatArray:
    return rng.lognormal(-0.5 * sigma * sigma, sigma, count)
