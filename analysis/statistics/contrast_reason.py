"""What to beware of in a contrast, in words."""

from dataclasses import dataclass

from analysis.data.pairs import Pairs
from analysis.statistics.contrast import (
    FEWEST_TESTED,
    ContrastVerdict,
    Rule,
    runs_needed,
    smallest_p,
)
from analysis.statistics.intervals import Interval


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a verdict rests on."""

    pairs: Pairs
    ratio: Interval
    p: float | None
    p_sign_flip: float | None
    verdict: ContrastVerdict


def basis_of(found: Evidence, rule: Rule, family: int) -> str:
    """By what a verdict was reached: `t-interval` where the exact test cannot or does not agree."""
    if found.p is None or found.verdict == "undecided":
        return ""
    return "t-interval" if _rests_on(found, rule, family) else "exact test"


def reason_of(found: Evidence, rule: Rule, family: int) -> str:
    """Why there is no test, or what it takes as given; empty when nothing."""
    if found.p is None:
        return _untested(found.pairs, rule, family)
    said = (_conditions(found.pairs), _shared(found.pairs), _rests_on(found, rule, family))
    return "; ".join(text for text in said if text)


def _untested(pairs: Pairs, rule: Rule, family: int) -> str:
    if pairs.copies:
        return "not tested: the replicates repeat one number, which is no evidence of spread"
    if pairs.one_launch:
        return (
            "not tested: pairs are conditions of one server launch, not replicates; its luck is in "
            "all of them"
        )
    count = len(pairs.logs)
    counted = f"{count} pair{'s' * (count != 1)}"
    planned = runs_needed(pairs.logs, rule, family)
    needed = f"not tested: {counted} of {FEWEST_TESTED} that an interval needs; plan {planned}"
    return "; ".join(text for text in (_shared(pairs), needed) if text)


def _conditions(pairs: Pairs) -> str:
    if pairs.unit != "condition":
        return ""
    return "pairs are conditions, not replicates: it holds across these, luck of a run included"


def _shared(pairs: Pairs) -> str:
    if pairs.unit != "launch":
        return ""
    count = len(pairs.logs)
    launches = f"{count} server launch{'es' * (count != 1)}"
    return f"{pairs.runs} pairs of runs share {launches} (server_group) and count as {count}"


def _rests_on(found: Evidence, rule: Rule, family: int) -> str:
    """Say where the interval alone speaks, and where the family silences it."""
    apart = found.p is not None and found.p <= rule.alpha
    if found.verdict == "undecided":
        if not apart:
            return ""
        return f"its own interval excludes 1, but not after the correction for {family} comparisons"
    lowest, level = smallest_p(len(found.pairs.logs)), rule.hardest_level(family)
    if lowest > level:
        return (
            "by t-interval, which takes log-ratios as normal: an exact sign-flip test of "
            f"{len(found.pairs.logs)} pairs cannot fall below {lowest:.3g}"
        )
    if found.verdict != "equivalent" and (found.p_sign_flip or 0) > rule.alpha:
        return (
            "by t-interval, which takes log-ratios as normal: the exact sign-flip test "
            f"gives p = {found.p_sign_flip:.2g}"
        )
    return ""
