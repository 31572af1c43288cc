"""Linear model with a random intercept for the groups of rows, by restricted maximum likelihood."""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import brentq

# Ratios of the two variances at which the likelihood is first looked at, times the rows a group.
RATIOS = np.concatenate([[0.0], np.logspace(-6, 12, 19)])
EPSILON = float(np.finfo(float).eps)
NO_SHARE = 1e-12
"""Of a direction's sum of squares that is between groups: below it is none."""
FLAT = 1e-11
"""Change of the deviance for a degree of freedom below which it is rounding."""
ROUNDING = 1e-14
"""Below this share of the total a residual sum of squares is rounding, not variation."""


@dataclass(frozen=True, slots=True)
class RandomIntercept:
    """y = X·β + u_group + e, Var u = `group_variance`, Var e = `residual_variance`."""

    coefficients: np.ndarray
    """β, by generalised least squares: p values."""
    covariance: np.ndarray
    """Of β: p × p."""
    group_variance: float
    residual_variance: float
    separable: bool
    """Whether the rows tell one variance from the other; else all of it is the residual's."""

    def f(self, columns: slice) -> float:
        """Wald's F that the coefficients of these columns are zero: β'·Cov(β)⁻¹·β / columns."""
        beta = self.coefficients[columns]
        return float(beta @ np.linalg.solve(self.covariance[columns, columns], beta) / len(beta))


def random_intercept(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> RandomIntercept | None:
    """Fit by REML; None where x explains every digit of y, or its columns depend on each other.

    x: n rows × p columns; y: n; group: n codes. With one random effect the restricted
    likelihood, β and the residual variance profiled out, depends on θ = Var u / Var e alone:

        −2·log L(θ) = (n − p)·log r'V⁻¹r + log|V| + log|X'V⁻¹X| + constant,   r = y − X·β̂(θ)

    (Pinheiro and Bates 2000, 2.2.5; Searle, Casella and McCulloch 1992, 6.6). A group of m rows has
    V = I + θ·11', so V⁻¹ = (I − P) + P/(1 + m·θ) with P = 11'/m the mean of its rows (Woodbury's
    identity) and |V| = 1 + m·θ. Cross products within groups, and between groups of one size, are
    thus all that is needed of the rows, and no difference of large numbers is taken. The zero of
    the derivative is found to rounding; where it falls from θ = 0 on, θ is 0, which is ordinary
    least squares.
    """
    if len(x) <= x.shape[1]:
        return None
    basis, triangle = np.linalg.qr(x)
    # The triangle's singular values are x's own.
    if np.linalg.matrix_rank(triangle, rtol=len(x) * EPSILON) < x.shape[1]:
        return None
    projected = basis.T @ y
    rest = y - basis @ projected
    if rest @ rest <= ROUNDING * float(((y - y.mean()) ** 2).sum()):
        return None
    codes, counts = np.unique(group, return_inverse=True, return_counts=True)[1:]
    turn = _between(basis, codes, counts)
    df = len(x) - x.shape[1]
    products = _cross_products(np.column_stack([basis @ turn, rest]), codes, counts, df)
    best = _best_ratio(products)
    theta = best or 0.0
    at = products.at(theta)
    variance = at.residual / df
    inverse = np.eye(x.shape[1]) + turn @ (at.inverse - np.eye(turn.shape[1])) @ turn.T
    back = np.linalg.inv(triangle)
    beta = back @ (projected + turn @ at.beta)
    return RandomIntercept(
        beta, variance * back @ inverse @ back.T, theta * variance, variance, best is not None
    )


def _between(basis: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Directions of an orthonormal basis, p × few, in which its groups differ at all.

    The others have V⁻¹ = I whatever θ: in a balanced table all but what a group fixes.
    """
    means = _means(basis, codes, counts)
    shares, directions = np.linalg.eigh(means.T @ (counts[:, None] * means))
    found: np.ndarray = directions[:, shares > NO_SHARE]
    return found


def _means(columns: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Of each group: groups × columns."""
    ordered = columns[np.argsort(codes, kind="stable")]
    sums = np.add.reduceat(ordered, np.cumsum(counts) - counts, axis=0)
    means: np.ndarray = sums / counts[:, None]
    return means


@dataclass(frozen=True, slots=True)
class _CrossProducts:
    """Cross products of the columns of (basis, rest)."""

    within: np.ndarray
    """Of rows about their group's mean."""
    between: np.ndarray
    """Of the groups' means, each times its rows, one matrix for each size of group."""
    size: np.ndarray
    """Rows of a group, for each of these matrices."""
    groups: np.ndarray
    """How many groups have this size."""
    df: int
    """n − p."""

    def at(self, theta: float) -> "_Profile":
        grown = 1 + self.size * theta
        both = self.within + np.tensordot(1 / grown, self.between, 1)
        factor = cho_factor(both[:-1, :-1], lower=True)
        beta = cho_solve(factor, both[:-1, -1])
        return _Profile(self, grown, factor, beta, float(both[-1, -1] - both[-1, :-1] @ beta))


@dataclass(frozen=True, slots=True)
class _Profile:
    """What a θ gives, in the orthonormal basis of x."""

    products: _CrossProducts
    grown: np.ndarray
    """1 + m·θ for each size of group."""
    factor: tuple[np.ndarray, bool]
    """Cholesky's, of X'V⁻¹X."""
    beta: np.ndarray
    residual: float
    """r'V⁻¹r."""

    @property
    def deviance(self) -> float:
        """−2·log L but for a constant."""
        spread = self.products.groups @ np.log(self.grown)
        determinant = 2 * np.log(np.diag(self.factor[0])).sum()
        return float(self.products.df * np.log(self.residual) + spread + determinant)

    @property
    def slope(self) -> float:
        """Derivative of the deviance by θ."""
        size = self.products.size
        changed = -np.tensordot(size / self.grown**2, self.products.between, 1)
        out = np.append(-self.beta, 1.0)
        lost = np.trace(cho_solve(self.factor, changed[:-1, :-1]))
        spread = self.products.groups @ (size / self.grown)
        return float(self.products.df * (out @ changed @ out) / self.residual + spread + lost)

    @property
    def inverse(self) -> np.ndarray:
        found: np.ndarray = cho_solve(self.factor, np.eye(len(self.beta)))
        return found


def _cross_products(
    columns: np.ndarray, codes: np.ndarray, counts: np.ndarray, df: int
) -> _CrossProducts:
    means = _means(columns, codes, counts)
    about = columns - means[codes]
    size, groups = np.unique(counts, return_counts=True)
    of_size = [means[counts == m] for m in size]
    between = np.stack([m * own.T @ own for m, own in zip(size, of_size, strict=True)])
    return _CrossProducts(about.T @ about, between, size, groups, df)


def _best_ratio(products: _CrossProducts) -> float | None:
    """θ with the highest likelihood; None where that is the same whatever θ.

    So it is where groups hold one row each, or x already has a level of its own for each group.
    """
    ratios = RATIOS / (products.size @ products.groups / products.groups.sum())
    profiles = [products.at(float(theta)) for theta in ratios]
    deviances = [profile.deviance for profile in profiles]
    if np.ptp(deviances) < FLAT * products.df:
        return None
    best = int(np.argmin(deviances))
    low = best if profiles[best].slope < 0 else best - 1
    if low < 0:
        return 0.0
    ends = ratios[low], ratios[min(low + 1, len(ratios) - 1)]
    # At the last ratio, where nothing varies within groups, the slope is rounding.
    if not products.at(ends[0]).slope < 0 < products.at(ends[1]).slope:
        return float(ratios[best])
    return float(brentq(lambda theta: products.at(theta).slope, *ends, rtol=1e-13))
