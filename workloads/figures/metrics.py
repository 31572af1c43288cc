"""Every metric of a run, defined once.

For a completed request with due time d, send time s and token times t₁ … tₙ:

    TTFT = t₁ − d        E2EL = tₙ − d        TPOT = (tₙ − t₁)/(n − 1) for n > 1
    ITL  = tᵢ₊₁ − tᵢ, all gaps of all completed requests pooled

`…_from_send_ms` has s in place of d. Names that `vllm bench serve` has too are defined as there.
Durations are seconds, latencies milliseconds, and None is «not measured».
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from workloads.figures import goodput as slo
from workloads.figures.steady import held_concurrency, peak_concurrency, steady_window
from workloads.transcript import RequestRow, Transcript

Summary = dict[str, float | int | None]
Milliseconds = NDArray[np.float64]

MS = 1e3


def summarise(
    rows: Iterable[RequestRow] | Transcript,
    *,
    goodput: Mapping[str, float] | None = None,
    max_concurrency: int | None = None,
) -> Summary:
    """Return every figure of a run, the whole of it and its steady window."""
    run = Transcript.of(rows)
    duration_s = window_s(run)
    latencies = _latencies(run.completed)
    return {
        **_counts(run),
        **_throughputs(run.completed, duration_s),
        "request_goodput": _goodput(run.completed, goodput, duration_s),
        **latencies,
        **_from_send(run.completed),
        **_dispatch_lag(run),
        **_concurrency(run, duration_s),
        **_steady(run, max_concurrency, whole=latencies),
    }


def window_s(run: Transcript) -> float:
    """Return the measured window: from the first send to the last end of any request."""
    if not len(run) or np.isnan(run.sent_s).all() or np.isnan(run.done_s).all():
        return 0.0
    return float(np.nanmax(run.done_s) - np.nanmin(run.sent_s))


def _counts(run: Transcript) -> Summary:
    status = run.status.tolist()
    return {
        "completed": status.count("ok"),
        "failed": status.count("failed"),
        "interrupted": status.count("interrupted"),
    }


def _throughputs(done: Transcript, duration_s: float) -> Summary:
    # No prompt has no tokens: 0 is one that nobody counted, and then there is no sum.
    inputs = int(done.input_tokens.sum()) if done.input_tokens.all() else None
    outputs = int(done.output_tokens.sum())
    total = None if inputs is None else per_second(inputs + outputs, duration_s)
    return {
        "duration": duration_s,
        "total_input_tokens": inputs,
        "total_output_tokens": outputs,
        "request_throughput": per_second(len(done), duration_s),
        "output_throughput": per_second(outputs, duration_s),
        "total_token_throughput": total,
    }


def per_second(amount: float, duration_s: float) -> float | None:
    return amount / duration_s if duration_s > 0 else None


def _goodput(done: Transcript, slos: Mapping[str, float] | None, duration_s: float) -> float | None:
    return per_second(good_requests(done, slos), duration_s) if slos else None


def good_requests(done: Transcript, slos: Mapping[str, float]) -> int:
    """Count the completed requests within every SLO, each latency taken from the due time.

    Of a mix each class is held to its own limits.
    """
    if slo.classes_of(slos):
        return sum(
            good_requests(done.where(done.part == part), slo.limits_of(part, slos))
            for part in dict.fromkeys(done.part.tolist())
        )
    if not len(done):
        return 0
    latencies_ms = {
        "ttft": ttft_ms(done, done.due_s),
        "tpot": tpot_ms(done),
        "e2el": e2el_ms(done, done.due_s),
    }
    return slo.good(latencies_ms, slos)


def ttft_ms(done: Transcript, start_s: NDArray[np.float64]) -> Milliseconds:
    return (done.first_token_s - start_s) * MS


def e2el_ms(done: Transcript, start_s: NDArray[np.float64]) -> Milliseconds:
    return (done.last_token_s - start_s) * MS


def tpot_ms(done: Transcript) -> Milliseconds:
    """Return the time per output token after the first; NaN for a single token."""
    gaps = np.where(done.output_tokens > 1, done.output_tokens - 1, np.nan)
    return (done.last_token_s - done.first_token_s) / gaps * MS


def _latencies(done: Transcript) -> Summary:
    return {
        **distribution("ttft_ms", ttft_ms(done, done.due_s)),
        **distribution("tpot_ms", tpot_ms(done)),
        **distribution("itl_ms", done.gaps_s * MS),
        **distribution("e2el_ms", e2el_ms(done, done.due_s)),
    }


def _from_send(done: Transcript) -> Summary:
    return {
        **distribution("ttft_from_send_ms", ttft_ms(done, done.sent_s)),
        **distribution("e2el_from_send_ms", e2el_ms(done, done.sent_s)),
    }


def distribution(name: str, values: NDArray[np.float64]) -> Summary:
    """Return mean, median, population standard deviation and (linear) p90, p95 and p99."""
    known = values[~np.isnan(values)]
    statistics = ("mean", "median", "std", "p90", "p95", "p99")
    if not len(known):
        return dict.fromkeys(f"{statistic}_{name}" for statistic in statistics)
    mean, std = mean_and_std(known)
    median, p90, p95, p99 = percentiles(known, (50, 90, 95, 99))
    figures = (mean, median, std, p90, p95, p99)
    return {
        f"{statistic}_{name}": float(figure)
        for statistic, figure in zip(statistics, figures, strict=True)
    }


def mean_and_std(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean of known values, (n,), and their population standard deviation.

    What `np.mean` and `np.std` give, to the last bit the same, in a third of their time: of a run's
    few hundred values those mostly prepare.
    """
    mean = float(np.add.reduce(values)) / len(values)
    deviations = values - mean
    return mean, math.sqrt(float(np.add.reduce(deviations * deviations)) / len(values))


def percentiles(values: NDArray[np.float64], wanted: Sequence[float]) -> list[float]:
    """Return percentiles of known values, (n,), interpolated linearly: what `np.percentile` gives.

    Of one sort, for several; to the last bit the same, several times as fast.
    """
    ordered = np.sort(values)
    found = []
    for percentile in wanted:
        place = percentile / 100 * (len(ordered) - 1)
        below = int(place)
        low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
        share = place - below
        gap = high - low
        # From the nearer neighbour, as numpy does: the rounding is the same.
        found.append(low + gap * share if share < 0.5 else high - gap * (1 - share))
    return found


def _dispatch_lag(run: Transcript) -> Summary:
    lag_ms = (run.sent_s - run.due_s) * MS
    sent = lag_ms[~np.isnan(lag_ms)]
    if not len(sent):
        return dict.fromkeys(f"{name}_dispatch_lag_ms" for name in ("mean", "p99", "max"))
    return {
        "mean_dispatch_lag_ms": mean_and_std(sent)[0],
        "p99_dispatch_lag_ms": percentiles(sent, (99,))[0],
        "max_dispatch_lag_ms": float(sent.max()),
    }


def _concurrency(run: Transcript, duration_s: float) -> Summary:
    """By Little's law the time-mean in flight is Σ(done − sent)/duration."""
    in_system_s = float(np.nansum(run.done_s - run.sent_s))
    return {
        "effective_concurrency": per_second(in_system_s, duration_s),
        "peak_concurrency": peak_concurrency(run),
    }


def _steady(run: Transcript, max_concurrency: int | None, *, whole: Summary) -> Summary:
    window = steady_window(run, max_concurrency)
    start_s, end_s = window or (np.nan, np.nan)
    length_s = end_s - start_s if window else 0.0
    within = run.completed.where(run.completed.sent_within(start_s, end_s))
    times_s = run.completed.token_times_s
    tokens = int(((times_s > start_s) & (times_s <= end_s)).sum())
    latencies = whole if within is run.completed else _latencies(within)
    return {
        "steady_start_s": start_s if window else None,
        "steady_duration": length_s if window else None,
        "steady_requests": len(within) if window else None,
        "steady_output_throughput": per_second(tokens, length_s),
        "steady_effective_concurrency": held_concurrency(run, window) if window else None,
        **{f"steady_{name}": figure for name, figure in latencies.items()},
    }


@functools.cache
def percentile_floor(percentile: float, *, confidence: float = 0.99) -> int:
    """Return the fewest samples for which a percentile may be claimed.

    MLPerf LoadGen's early-stopping bound with one sample beyond it: h+1 for the smallest h with
    P(at most one of h+1 samples over) = (h+1)·pʰ(1−p) + pʰ⁺¹ < 1 − confidence.
    """
    share, under = percentile / 100, 1
    while (under + 1) * share**under * (1 - share) + share ** (under + 1) >= 1 - confidence:
        under += 1
    return under + 1
