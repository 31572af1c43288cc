"""One configuration against a reference, token by token over the same text."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catalog.errors import BadValue
from workloads.quality.scores import ABSENT, Scores, mean_interval

LEAST_MASS = 1e-12
SAME_SHARE = 0.01
"""Perplexities whose ratio is this close to 1, with all of its interval, count as the same."""


@dataclass(frozen=True, slots=True)
class ScoreComparison:
    """How far a configuration's predictions are from the reference's."""

    perplexity_ratio: float
    ratio_interval: tuple[float, float] | None
    """95 %, from the paired differences of windows."""
    token_agreement: float | None
    """Share of positions whose likeliest token is the reference's, given the same text before."""
    kl_divergence: float | None
    """Mean KL(reference || configuration) in nats a token, at least this much."""
    kl_mass: float | None
    """Mean share of the reference's probability that the lists of both name."""

    @property
    def same_perplexity(self) -> bool | None:
        """Whether the interval shows the perplexities equal, or apart; None where it shows neither.

        Too few windows make a wide interval, which is no sign of a difference.
        """
        if self.ratio_interval is None:
            return None
        low, high = self.ratio_interval
        if low >= 1 - SAME_SHARE and high <= 1 + SAME_SHARE:
            return True
        return False if high < 1 - SAME_SHARE or low > 1 + SAME_SHARE else None


def compare(scores: Scores, reference: Scores) -> ScoreComparison:
    """Compare two servers that were asked the same windows."""
    if not np.array_equal(scores.tokens, reference.tokens):
        raise BadValue("the reference", "another text or tokenizer", "the same windows of tokens")
    difference = scores.window_nll - reference.window_nll
    bounds = mean_interval(difference)
    listed = scores.top_ids.shape[-1] and reference.top_ids.shape[-1]
    kl, mass = coarse_kl(reference, scores) if listed else (None, None)
    return ScoreComparison(
        perplexity_ratio=math.exp(float(difference.mean())),
        ratio_interval=(math.exp(bounds[0]), math.exp(bounds[1])) if bounds else None,
        token_agreement=float((scores.top_ids[..., 0] == reference.top_ids[..., 0]).mean())
        if listed
        else None,
        kl_divergence=None if kl is None else float(kl.mean()),
        kl_mass=None if mass is None else float(mass.mean()),
    )


def coarse_kl(p: Scores, q: Scores) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """KL(p || q) of each position over the tokens both list, all others as one; and their mass.

    Joining outcomes never raises a divergence (the log-sum inequality), so this is a lower bound
    of the KL over the vocabulary; it is exact where the lists are the whole vocabulary.
    """
    shape = p.logprobs.shape
    kl, mass = np.empty(shape), np.empty(shape)
    for window in range(shape[0]):  # one window at a time bounds the memory
        kl[window], mass[window] = _positions(
            (p.top_ids[window], p.top_logprobs[window]), (q.top_ids[window], q.top_logprobs[window])
        )
    return kl, mass


TopTokens = tuple[NDArray[np.int32], NDArray[np.float32]]


def _positions(p: TopTokens, q: TopTokens) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    same = (p[0][:, :, None] == q[0][:, None, :]) & (p[0] != ABSENT)[:, :, None]
    common = same.any(axis=2)
    p_prob = np.where(common, np.exp(p[1].astype(np.float64)), 0.0)
    q_prob = (same * np.exp(q[1].astype(np.float64))[:, None, :]).sum(axis=2)
    listed = _terms(p_prob, q_prob).sum(axis=1)
    mass = p_prob.sum(axis=1)
    return listed + _terms(1.0 - mass, 1.0 - q_prob.sum(axis=1)), mass


def _terms(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """p log(p / q), 0 where p is; rounding may leave a mass a hair below nothing."""
    kept = p > LEAST_MASS
    safe = np.where(kept, p, 1.0)
    return np.where(kept, p * np.log(safe / np.maximum(q, LEAST_MASS)), 0.0)
