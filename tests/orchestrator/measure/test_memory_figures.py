"""Memory and bytes moved as columns: peaks of samples, rises of counters, nothing made up."""

from orchestrator.measure.memory_figures import decoder_figures, memory_figures
from orchestrator.measure.samples import SampleTable

BEFORE = "moeserve_decoder_expert_hits_total 10\nmoeserve_decoder_expert_misses_total 10\nother 1\n"
AFTER = "moeserve_decoder_expert_hits_total 40\nmoeserve_decoder_expert_misses_total 20\nother 9\n"


def test_the_peak_of_host_memory_is_the_largest_sample_and_absent_without_one() -> None:
    host = SampleTable()
    for value in (5.0, 9.0, 7.0):
        host.add(t_s=0.0, resident_bytes=value)
    figures = memory_figures(host, {"kv_tokens_capacity": 64, "command": ["x"]}, None, None)
    assert figures == {"peak_host_memory_bytes": 9.0, "kv_tokens_capacity": 64}
    assert memory_figures(SampleTable(), {}, None, None) == {"peak_host_memory_bytes": None}


def test_counters_of_a_decoder_count_over_the_run_alone() -> None:
    figures = decoder_figures(BEFORE, AFTER)
    assert figures == {"expert_hits": 30.0, "expert_misses": 10.0, "expert_hit_rate": 0.75}
    assert decoder_figures(None, AFTER) == {}
    assert decoder_figures(BEFORE, BEFORE) == {"expert_hits": 0.0, "expert_misses": 0.0}


def test_counters_of_a_decoder_that_started_again_are_no_figures() -> None:
    assert decoder_figures(AFTER, BEFORE) == {}
    began = "process_start_time_seconds "
    assert decoder_figures(f"{BEFORE}{began}1\n", f"{AFTER}{began}2\n") == {}


def test_a_server_writes_no_columns_of_its_choice() -> None:
    names = ("output_throughput", "verdict", "anything", "expert_hits")
    said = "".join(f"moeserve_decoder_{name}_total 60000000000\n" for name in names)
    assert decoder_figures("", said) == {"expert_hits": 6e10, "expert_hit_rate": 1.0}
