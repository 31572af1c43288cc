"""What a server said of every token of a text, and the perplexity that follows from it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ABSENT = -1
"""Fills the list of a position that names fewer tokens than others."""
MOST_TOP = 20
"""Likeliest tokens a position that may be asked for: vLLM's own default limit."""
Z = 1.959964
LEAST_WINDOWS = 4
"""Below this many windows no interval is given."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities (natural) of W windows of L tokens; the first of a window has none.

    `top_ids` and `top_logprobs` (W, L - 1, K) list the likeliest tokens of each position and the
    text's own, likeliest first; K is 0 where the server gives the text's own alone.
    """

    tokens: NDArray[np.int32]
    logprobs: NDArray[np.float64]
    top_ids: NDArray[np.int32]
    top_logprobs: NDArray[np.float32]

    @property
    def num_predicted(self) -> int:
        return int(self.logprobs.size)

    @property
    def window_nll(self) -> NDArray[np.float64]:
        """Mean negative log-likelihood of each window, in nats a token."""
        return np.asarray(-self.logprobs.mean(axis=1), dtype=np.float64)

    @property
    def perplexity(self) -> float:
        """exp(-(1/N) sum log p(x_i | x_<i)) over all predicted tokens."""
        return math.exp(float(self.window_nll.mean()))

    @property
    def perplexity_interval(self) -> tuple[float, float] | None:
        """95 % over windows as the unit that repeats; None with too few of them."""
        bounds = mean_interval(self.window_nll)
        return (math.exp(bounds[0]), math.exp(bounds[1])) if bounds else None


def mean_interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean of independent values; None with too few."""
    count = len(values)
    if count < LEAST_WINDOWS:
        return None
    half = _student(count - 1) * float(values.std(ddof=1)) / math.sqrt(count)
    middle = float(values.mean())
    return middle - half, middle + half


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t; Abramowitz and Stegun, 26.7.5, within 1 % from 3 on."""
    g1 = (Z**3 + Z) / 4
    g2 = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    g3 = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return Z + g1 / freedom + g2 / freedom**2 + g3 / freedom**3
