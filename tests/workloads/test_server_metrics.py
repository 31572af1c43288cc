import pytest

from workloads.server_metrics import Scrape, disagreements, parse_metrics, window

BEFORE = """\
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="a,b=\\"c\\""} 100.0
vllm:generation_tokens_total{engine="1",model_name="m"} 50.0
vllm:time_to_first_token_seconds_sum{engine="0"} 1.5
vllm:time_to_first_token_seconds_count{engine="0"} 10.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf"} 10.0
vllm:num_requests_running 3
"""
AFTER = """\
vllm:generation_tokens_total{engine="0",model_name="a,b=\\"c\\""} 1.5e2 1700000000000
vllm:generation_tokens_total{engine="1",model_name="m"} 80.0
vllm:time_to_first_token_seconds_sum{engine="0"} 2.5
vllm:time_to_first_token_seconds_count{engine="0"} 14.0
broken line {
vllm:nonsense NaNaN
"""


def test_counters_are_summed_over_engines_and_differenced_over_the_window() -> None:
    assert window(parse_metrics(BEFORE), parse_metrics(AFTER)).counted(
        "vllm:generation_tokens_total"
    ) == pytest.approx(80)


def test_a_histograms_mean_is_that_of_the_window_alone() -> None:
    both = window(parse_metrics(BEFORE), parse_metrics(AFTER))
    assert both.mean_ms("vllm:time_to_first_token_seconds") == pytest.approx(250)
    assert both.figures()["server_mean_ttft_ms"] == pytest.approx(250)


def test_what_a_server_does_not_say_is_missing_and_not_zero() -> None:
    both = window(parse_metrics(BEFORE), parse_metrics(AFTER))
    assert both.mean_ms("vllm:inter_token_latency_seconds") is None
    assert both.figures()["server_preemptions"] is None
    nothing = window(parse_metrics(BEFORE), parse_metrics(BEFORE))
    assert nothing.mean_ms("vllm:time_to_first_token_seconds") is None


def test_a_metric_that_appears_within_the_window_counts_from_zero() -> None:
    both = window(Scrape(), parse_metrics("vllm:prompt_tokens_total 7"))
    assert both.counted("vllm:prompt_tokens_total") == 7


def test_a_counter_that_falls_is_a_server_that_was_restarted() -> None:
    before, after = parse_metrics(BEFORE), parse_metrics(AFTER)
    assert not window(before, after).restarted
    assert window(after, before).restarted


def test_labels_with_quotes_and_commas_are_read() -> None:
    found = dict(parse_metrics(BEFORE).values)
    name = "vllm:generation_tokens_total"
    assert found[name, (("engine", "0"), ("model_name", 'a,b=\\"c\\"'))] == 100


def test_client_and_server_may_differ_by_five_percent_and_a_millisecond() -> None:
    client = {"mean_ttft_from_send_ms": 106.0, "mean_itl_ms": 10.0, "mean_e2el_from_send_ms": None}
    server = {"server_mean_ttft_ms": 100.0, "server_mean_itl_ms": 10.0}
    assert list(disagreements(client, server)) == []
    (said,) = disagreements({**client, "mean_ttft_from_send_ms": 106.1}, server)
    assert said.startswith("SERVER_DISAGREES: mean TTFT is 106.10 ms to the client and 100.00 ms")
