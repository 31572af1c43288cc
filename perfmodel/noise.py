"""Run-to-run noise for simulated servers: what repeated launches of a real one show."""

import numpy as np

from perfmodel.arrays import FloatArray

BLOCK = 4096


class Noise:
    """Factors on step times: that of the launch, times a log-normal one for each step.

    A sigma is that of the logarithm; the mean factor is 1. A step's factor depends on its number
    alone, not on how the steps are asked for.
    """

    def __init__(self, rng: np.random.Generator, *, step_sigma: float, launch: float = 1.0) -> None:
        self._rng = rng
        self._step_sigma = step_sigma
        self._launch = launch
        self._drawn = np.empty(0)

    def sibling(self) -> "Noise":
        """Noise of another replica of the same launch: its own steps, the same launch factor."""
        rng = self._rng.spawn(1)[0]
        return Noise(rng, step_sigma=self._step_sigma, launch=self._launch)

    def factors(self, first: int, count: int) -> FloatArray:
        """Return the factors of steps `first` to `first + count`, shape (count,)."""
        while len(self._drawn) < first + count:
            more = _factors(self._rng, self._step_sigma, BLOCK)
            self._drawn = np.concatenate((self._drawn, more * self._launch))
        return self._drawn[first : first + count]


def launch_factor(rng: np.random.Generator, sigma: float) -> float:
    """Draw how much slower than the mean all steps of one server launch are."""
    return float(_factors(rng, sigma, 1)[0])


def _factors(rng: np.random.Generator, sigma: float, count: int) -> FloatArray:
    return rng.lognormal(-0.5 * sigma * sigma, sigma, count)
