"""The law of an estimate whose squared standard error is the sum of two estimated parts.

One part is known from few seeds, the other from many videos. Their sum has no exact t law. The t
law that is nearest to it (Satterthwaite 1946) is too bold exactly where it matters, in the far
tails that a correction over many comparisons asks for: when the few seeds happen to lie close
together, their part looks small and the degrees of freedom large. The law used here (Behrens 1929,
Fisher 1935) mixes over what each part could really be. With parts a and b, and chi-square variables
A and B of f and g degrees of freedom, the estimate is normal with variance a f / A + b g / B. That
is the weighted sum of two independent t variables: exact where one part dominates, cautious
between.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from scipy.special import erfc
from scipy.stats import chi2, norm

# Probability of each tail left out of the mixture, and the step in the logarithm: the trapezoid
# rule is then right to about nine digits, as it converges exponentially for smooth functions that
# fall off on both sides (Trefethen and Weideman 2014).
_LEFT_OUT = 1e-14
_LARGEST_STEP = 0.4
_STEPS_PER_DEVIATION = 1.5
# Newton's method on logarithms starts near the root: a handful of steps is the rule.
_MOST_STEPS = 60
_ACCURACY = 1e-12


@dataclass(frozen=True)
class ErrorParts:
    """A squared standard error in two parts, estimated independently.

    Args:
        first: One part, at least 0.
        first_freedom: Its degrees of freedom, at least 1.
        second: The other part, at least 0.
        second_freedom: Its degrees of freedom, at least 1.
    """

    first: float
    first_freedom: float
    second: float
    second_freedom: float

    @property
    def standard_error(self) -> float:
        """Square root of the sum."""
        return float(np.sqrt(self.first + self.second))


def two_sided_p(difference: float, parts: ErrorParts) -> float:
    """Probability of a difference at least as large if the true one were none.

    Where the standard error is 0: 1 for no difference, else 0.
    """
    scale = parts.standard_error
    if not scale:
        return float(difference == 0)
    variances, weights = _mixture(parts)
    return _tail(abs(difference) / scale, variances, weights)


def half_width(parts: ErrorParts, level: float) -> float:
    """Half the width of the interval at `level`: the difference whose `two_sided_p` is `level`."""
    scale = parts.standard_error
    if not scale:
        return 0.0
    variances, weights = _mixture(parts)
    log_width = float(np.log(norm.isf(level / 2)))
    for _ in range(_MOST_STEPS):
        width = np.exp(log_width)
        tail = _tail(width, variances, weights)
        step = np.log(tail / level) * tail / (width * _density(width, variances, weights))
        log_width += step
        if abs(step) < _ACCURACY:
            break
    return float(np.exp(log_width)) * scale


def _tail(
    width: float, variances: Float[np.ndarray, "nodes"], weights: Float[np.ndarray, "nodes"]
) -> float:
    """Probability that |x| > `width` under a mixture of normal laws."""
    return float(weights @ erfc(width / np.sqrt(2 * variances)))


def _density(
    width: float, variances: Float[np.ndarray, "nodes"], weights: Float[np.ndarray, "nodes"]
) -> float:
    """How fast `_tail` falls."""
    return float(weights @ (np.exp(-(width**2) / (2 * variances)) * np.sqrt(2 / np.pi / variances)))


def _mixture(
    parts: ErrorParts,
) -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "nodes"]]:
    """True variances that the estimate may have, relative to its own, and their probabilities."""
    share = parts.first / (parts.first + parts.second)
    first, first_weights = _part_rule(share, parts.first_freedom)
    second, second_weights = _part_rule(1 - share, parts.second_freedom)
    variances = np.add.outer(first, second).ravel()
    return variances, np.multiply.outer(first_weights, second_weights).ravel()


def _part_rule(
    share: float, freedom: float
) -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "nodes"]]:
    """True values and probabilities of a part whose estimate is `share`; a part of 0 stays 0."""
    if not share:
        return np.zeros(1), np.ones(1)
    ratios, weights = ratio_rule(freedom)
    return share / ratios, weights


@lru_cache(maxsize=512)
def ratio_rule(freedom: float) -> tuple[Float[np.ndarray, "nodes"], Float[np.ndarray, "nodes"]]:
    """Ratios of an estimated to the true variance, and their probabilities, for quadrature.

    The ratio is chi-square over its degrees of freedom. In its logarithm the density is smooth and
    falls off on both sides, where the trapezoid rule converges fastest.
    """
    low, high = np.log(chi2.ppf(_LEFT_OUT, freedom)), np.log(chi2.isf(_LEFT_OUT, freedom))
    step = min(_LARGEST_STEP, np.sqrt(2 / freedom) / _STEPS_PER_DEVIATION)
    logs = np.arange(low, high + step, step)
    weights = np.exp(chi2.logpdf(np.exp(logs), freedom) + logs)
    ratios, weights = np.exp(logs) / freedom, weights / weights.sum()
    ratios.flags.writeable = weights.flags.writeable = False
    return ratios, weights
