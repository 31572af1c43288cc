"""Lines worked out elsewhere: the trend's numbers, its direction, and which requests it is of."""

import numpy as np
import pytest
from scipy import stats

from workloads.figures.drift import BATCHES, T_99, Trend, latency_trend, queue_trends, trend
from workloads.figures.steady import held_concurrency, in_flight, peak_concurrency, steady_window
from workloads.transcript import RequestRow, Transcript


def row(number: int, sent: float, latency: float, **changes: float) -> RequestRow:
    times = {"due_s": sent, "first_token_s": sent + latency / 4, **changes}
    return RequestRow(request=number, sent_s=sent, done_s=sent + latency, **times)


def test_student_s_t_is_that_of_a_line_through_ten_points() -> None:
    assert pytest.approx(stats.t.ppf(0.995, BATCHES - 2), abs=5e-4) == T_99


@pytest.mark.parametrize("count", [30, 57, 400])
def test_the_interval_is_least_squares_on_the_means_of_ten_batches(count: int) -> None:
    rng = np.random.default_rng(count)
    at_s = np.sort(rng.uniform(5, 65, count))
    values = 3 - 0.02 * at_s + rng.normal(0, 0.3, count)
    batches = np.array_split(np.arange(count), 10)
    x = [at_s[batch].mean() for batch in batches]
    y = [values[batch].mean() for batch in batches]
    line = stats.linregress(x, y)
    length_s, margin = at_s[-1] - at_s[0], stats.t.ppf(0.995, 8) * line.stderr
    found = trend(at_s, values)
    assert found is not None
    wanted = [slope * length_s / np.mean(y)
              for slope in (line.slope, line.slope - margin, line.slope + margin)]  # fmt: skip
    assert [found.change, found.low, found.high] == pytest.approx(wanted, rel=1e-3)


def test_values_below_zero_keep_an_interval_around_their_change() -> None:
    at_s = np.linspace(0, 60, 100)
    found = trend(at_s, -2 + 0.01 * at_s + 0.1 * np.sin(at_s))
    assert found is not None
    assert found.low < found.change < found.high


def test_where_a_value_or_a_time_is_missing_nothing_is_made_of_it() -> None:
    at_s = np.arange(60.0)
    values = 10 + at_s
    holes, late = values.copy(), at_s.copy()
    holes[::4] = np.nan
    late[1::4] = np.nan
    found = trend(late, holes)
    known = (np.arange(60) % 4) > 1
    assert found == trend(at_s[known], values[known]) is not None


@pytest.mark.parametrize(("low", "high", "beyond"), [
    (0.101, 0.3, True), (0.099, 0.3, False), (-0.3, -0.101, True), (-0.3, -0.099, False),
    (-0.3, 0.3, False),
])  # fmt: skip
def test_beyond_means_the_nearer_end_of_the_interval(low: float, high: float, beyond: bool) -> None:
    assert Trend(0.0, low, high).beyond(0.1) == beyond


def test_values_that_never_change_place_or_are_all_zero_have_no_trend() -> None:
    assert trend(np.zeros(40), np.arange(40.0)) is None
    assert trend(np.arange(40.0), np.zeros(40)) is None


def closed(latencies: list[float], *, wait_s: float = 0.0, start_s: float = 100.0) -> Transcript:
    """One at a time, due so long before it is sent; the first send is at `start_s`."""
    sent = start_s
    rows = []
    for number, latency in enumerate(latencies):
        rows.append(row(number, sent, latency, due_s=sent - wait_s * number))
        sent += latency
    return Transcript.of(rows)


def test_a_run_that_gets_faster_has_a_trend_below_zero() -> None:
    found = latency_trend(closed([2 - 0.01 * n for n in range(100)]), 1)
    assert found is not None
    # From 2 s to 1 s around 1.5 s: a fall by two thirds of the mean.
    assert found.change == pytest.approx(-0.67, abs=0.02)
    assert found.high < -0.5


def test_the_trend_of_latencies_runs_from_the_send_whatever_was_due_when() -> None:
    latencies = [1.0 + 0.2 * np.sin(n) for n in range(100)]
    assert latency_trend(closed(latencies, wait_s=1.0), 1) == latency_trend(closed(latencies), 1)


def test_a_window_of_three_times_the_fastest_request_is_long_enough_to_judge() -> None:
    # 32 in flight from 0 on, 32 more from 1 on, each of 2 s but one: the window is [0, end].
    rows = [row(n, n / 32, 2.0) for n in range(64)]
    for fastest, judged in ((1.3, True), (1.34, False)):
        rows[40] = row(40, 40 / 32, fastest)
        run = Transcript.of(rows)
        window = steady_window(run, 1)
        assert window == (0.0, 63 / 32 + 2.0)
        assert (latency_trend(run, 1) is not None) == judged


def ramp(count: int = 90, *, growing: bool, slower: bool) -> Transcript:
    """An open loop of one a second: its queue, its TTFT, both or none of them grow."""
    rows = []
    for number in range(count):
        latency = 10.0 + (0.5 * number if growing else 0.0)
        ttft = 1.0 + (0.05 * number if slower else 0.0)
        rows.append(row(number, 200.0 + number, latency, first_token_s=200.0 + number + ttft))
    return Transcript.of(rows)


@pytest.mark.parametrize(("growing", "slower"), [
    (True, True), (True, False), (False, True), (False, False),
])  # fmt: skip
def test_queue_and_ttft_have_trends_of_their_own(growing: bool, slower: bool) -> None:
    queue, ttft = queue_trends(ramp(growing=growing, slower=slower))
    assert queue is not None
    assert ttft is not None
    assert (queue.low > 0.4) == growing
    assert abs(queue.change) < 0.05 or growing
    assert (ttft.low > 0.4) == slower
    assert abs(ttft.change) < 1e-9 or slower


def test_the_ttft_of_an_open_loop_runs_from_the_due_time() -> None:
    rows = [row(n, 1.5 * n, 3.0, due_s=float(n), first_token_s=1.5 * n + 1.0) for n in range(90)]
    _, ttft = queue_trends(Transcript.of(rows))
    assert ttft is not None
    # Sent n/2 late: from 1 s to 45.5 s, though each first token came 1 s after its send.
    assert ttft.low > 1.0


def test_a_window_between_first_end_and_last_send_leaves_out_ramp_and_drain() -> None:
    run = Transcript.of([row(0, 0.0, 4.0), row(1, 1.0, 1.5), row(2, 3.0, 9.0), row(3, 6.0, 2.0)])
    assert steady_window(run, None) == (2.5, 6.0)
    # Within it: 0 until 4, 2 all the time, 3 from its end on.
    assert held_concurrency(run, (2.5, 6.0)) == pytest.approx((1.5 + 3.0) / 3.5)
    assert peak_concurrency(run) == 2


def test_requests_that_were_never_sent_or_never_ended_are_in_flight_at_no_time() -> None:
    lost = RequestRow(request=1, due_s=0.0, status="failed")
    run = Transcript.of([row(0, 1.0, 2.0), lost])
    instants, flying = in_flight(run)
    assert (instants.tolist(), flying.tolist()) == ([1.0, 3.0], [1, 0])
    assert steady_window(Transcript.of([lost]), None) is None
    assert steady_window(run, 2) is None
    assert steady_window(run, 1) == (1.0, 3.0)


def test_an_open_loop_whose_sends_end_before_any_request_has_no_steady_window() -> None:
    assert steady_window(Transcript.of([row(0, 0.0, 2.0), row(1, 2.0, 2.0)]), None) is None
    assert steady_window(Transcript.of([row(0, 0.0, 2.0), row(1, 2.5, 2.0)]), None) == (2.0, 2.5)
