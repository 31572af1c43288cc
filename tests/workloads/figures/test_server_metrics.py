import pytest

from workloads.figures.server_metrics import (
    Scrape,
    disagreements,
    parse_metrics,
    window,
)

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


def test_another_process_is_a_restart_though_its_counters_are_higher() -> None:
    then, now = "process_start_time_seconds 5\na_total 1", "process_start_time_seconds 9\na_total 7"
    assert window(parse_metrics(then), parse_metrics(now)).restarted
    assert not window(parse_metrics(then), parse_metrics(then)).restarted
    assert not window(parse_metrics("a_total 1"), parse_metrics(now)).restarted, "it was not told"


def test_a_gauge_whose_name_ends_like_a_counter_s_may_fall() -> None:
    typed = "# TYPE free_total gauge\nfree_total {}\n# TYPE made_total counter\nmade_total 5"
    assert not window(parse_metrics(typed.format(9)), parse_metrics(typed.format(3))).restarted
    bare = "free_total {}"
    assert window(parse_metrics(bare.format(9)), parse_metrics(bare.format(3))).restarted


def test_a_sample_with_an_exemplar_is_read() -> None:
    line = 'made_total{engine="0"} 17 # {trace_id="a"} 1.0 1520879607.7'
    assert parse_metrics(line).total("made_total") == 17


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


PAGE = """\
vllm:prompt_tokens_total{{engine="0"}} {0}01
vllm:generation_tokens_total{{engine="0"}} {0}02
vllm:request_success_total{{engine="0",finished_reason="stop"}} {0}01
vllm:request_success_total{{engine="0",finished_reason="length"}} {0}02
vllm:num_preemptions_total{{engine="0"}} {0}04
vllm:prefix_cache_queries_total{{engine="0"}} {0}05
vllm:prefix_cache_hits_total{{engine="0"}} {0}06
vllm:external_prefix_cache_hits_total{{engine="0"}} {0}00
vllm:time_to_first_token_seconds_sum{{engine="0"}} {0}.5
vllm:time_to_first_token_seconds_count{{engine="0"}} {0}0
vllm:inter_token_latency_seconds_sum{{engine="0"}} {0}.25
vllm:inter_token_latency_seconds_count{{engine="0"}} {0}00
vllm:e2e_request_latency_seconds_sum{{engine="0"}} {0}0
vllm:e2e_request_latency_seconds_count{{engine="0"}} {0}
vllm:request_queue_time_seconds_sum{{engine="0"}} {0}
vllm:request_queue_time_seconds_count{{engine="0"}} {0}000
"""
"""By the names of vLLM's page; every number begins with what grows between two readings."""


def test_each_column_is_read_from_the_server_s_metric_of_that_meaning() -> None:
    figures = window(parse_metrics(PAGE.format(1)), parse_metrics(PAGE.format(3))).figures()
    assert figures == pytest.approx(
        {
            "server_prompt_tokens": 200,
            "server_generation_tokens": 200,
            "server_requests": 400,
            "server_preemptions": 200,
            "server_prefix_cache_queries": 200,
            "server_prefix_cache_hits": 200,
            # 2 s of 20, 2 s of 200, 20 s of 2, 2 s of 2000.
            "server_mean_ttft_ms": 100,
            "server_mean_itl_ms": 10,
            "server_mean_e2el_ms": 10_000,
            "server_mean_queue_ms": 1,
        }
    )


@pytest.mark.parametrize("metric", ["ttft", "itl", "e2el"])
def test_each_mean_is_compared_with_the_client_s_from_the_send(metric: str) -> None:
    own = "mean_itl_ms" if metric == "itl" else f"mean_{metric}_from_send_ms"
    client = {"mean_ttft_ms": 900.0, "mean_e2el_ms": 900.0, own: 100.0}
    server = {f"server_mean_{metric}_ms": 106.0}
    # 5 % of the server's 106 and 1 ms are 6.3.
    assert list(disagreements(client, server)) == []
    for other, said in ((106.32, True), (106.30, False), (94.28, True), (94.30, False)):
        server = {f"server_mean_{metric}_ms": other}
        assert bool(list(disagreements(client, server))) == said


@pytest.mark.slow
def test_a_page_longer_than_any_is_read_up_to_its_limit() -> None:
    lines = [f'm{{n="{number}"}} 1' for number in range(100_005)]
    assert len(parse_metrics("\n".join(lines)).values) == 100_000
    assert parse_metrics(f"m{' ' * (16_384 - 2)}1").values == {("m", ()): 1.0}
    assert parse_metrics(f"m{' ' * (16_384 - 1)}1").values == {}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "1e300", "x", ""])
def test_a_reading_that_is_no_measurement_is_none(value: str) -> None:
    assert parse_metrics(f"a 1\nm {value}\nb 2").values == {("a", ()): 1.0, ("b", ()): 2.0}


def test_only_totals_that_fall_are_a_restart() -> None:
    before = parse_metrics("a_total 5\nb_total 5\nrunning 9")
    assert not window(before, parse_metrics("a_total 5\nb_total 5\nrunning 1")).restarted
    assert window(before, parse_metrics("a_total 9\nb_total 4\nrunning 9")).restarted
    assert not window(before, parse_metrics("a_total 5")).restarted, "gone is not fallen"
    split = parse_metrics('a_total{e="0"} 2\na_total{e="1"} 4')
    assert not window(before, split).restarted, "the sum over its labels is 6"
    assert window(parse_metrics('a_total{e="0"} 9\na_total{e="1"} 4'), split).restarted
