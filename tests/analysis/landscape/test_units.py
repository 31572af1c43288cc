"""A column's unit is read off its name, and a limit says its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.landscape.constraint import parse_constraints
from analysis.landscape.units import Unit, unit_of
from catalog.errors import BadValue


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("gpu_memory_mib", Unit("mib")),
        ("peak_gpu_memory_bytes", Unit("bytes")),
        ("duration", Unit("s")),
        ("TTFT(ms)", Unit("ms")),
        ("GPU memory [GiB]", Unit("gib")),
        ("tpot_s", Unit("s", ("tokens",))),
        ("p99_itl_ms", Unit("ms", ("tokens",))),
        ("output_throughput", Unit("tokens", ("s",))),
        ("output_throughput_per_gpu", Unit("tokens", ("s", "gpus"))),
        ("tokens_per_s", Unit("tokens", ("s",))),
        ("achieved_gb_per_s", Unit("gb", ("s",))),
        ("time_per_output_token_ms", Unit("ms", ("tokens",))),
        ("memory_per_gpu_gib", Unit("gib")),
        ("throughput_per_s", None),
        ("joules_per_token", Unit("j", ("tokens",))),
        ("perplexity", None),
        ("max_concurrency", None),
        ("active_params_b", None),
        ("latency_min", None),
        ("s", None),
    ],
)
def test_a_name_says_the_unit_or_nothing_does(column: str, unit: Unit | None) -> None:
    assert unit_of(column) == unit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("mean_tpot_ms <= 2 s/token", 2000),
        ("mean_tpot_ms <= 2 s per token", 2000),
        ("mean_tpot_ms <= 2 s", 2000),
        ("tpot_s <= 50 ms/tok", 0.05),
        ("output_throughput >= 60000 tokens/min", 1000),
        ("output_throughput >= 1000 tok/s", 1000),
        ("output_throughput >= 1000", 1000),
        ("output_throughput_per_gpu >= 90 tokens/s/GPU", 90),
        ("achieved_gb_per_s >= 1 TB/s", 1000),
        ("power_w <= 0.3 kW", 300),
        ("energy_wh <= 1 kWh", 1000),
        ("busy_pct >= 90 %", 90),
        ("slo_attainment >= 90 %", 0.9),
        ("TTFT(ms) <= 0.2 s", 200),
        ("mean_ttft_ms > 0", 0),
    ],
)
def test_a_unit_may_be_over_others(text: str, limit: float) -> None:
    (found,) = parse_constraints(text)
    assert found.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("gpu_memory_mib <= 16", "16 GiB or 16 MiB?"),
        ("memory_gb <= 80", "80 GiB or 80 GB?"),
        ("memory_gib <= 80", "80 GiB?"),
        ("peak_gpu_memory_bytes <= 17179869184", "17179869184 bytes?"),
        ("mean_ttft_ms <= 200", "200 ms or 200 s?"),
        ("tpot_s <= 0.05", "0.05 s/token or 0.05 ms/token?"),
        ("duration <= 60", "60 s or 60 ms?"),
        ("power_w <= 300", "300 W?"),
        ("busy_pct <= 5", "5 %?"),
        ("TTFT(ms) <= 200", "200 ms or 200 s?"),
    ],
)
def test_a_bare_number_for_a_column_with_a_unit_is_refused_with_what_it_may_mean(
    text: str, meant: str
) -> None:
    with pytest.raises(BadValue, match="a number with its unit") as refused:
        parse_constraints(text)
    assert str(refused.value).endswith(f": {meant}")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("mean_ttft_ms <= 2 s/token", "ns, us, ms, s, min, h"),
        ("mean_tpot_ms <= 2 s/request", "ms/token, s/token"),
        ("mean_tpot_ms <= 2 tokens/s", "ms/token, s/token"),
        ("mean_ttft_ms <= 50 %", "ns, us, ms"),
        ("tokens_per_s >= 500 ms", "tokens/s"),
        ("gpu_memory_mib <= 16 G", "GB, TB"),
        ("tput >= 9 tokens/s", "--column 'tput=tput_tokens_per_s'"),
        ("memory <= 16 GiB", "--column 'memory=memory_gib'"),
    ],
)
def test_another_quantity_is_refused_with_the_units_there_are(text: str, allowed: str) -> None:
    with pytest.raises(BadValue) as refused:
        parse_constraints(text)
    assert allowed in str(refused.value)


@given(
    st.sampled_from(["kB", "MB", "GB", "TB", "PB"]),
    st.sampled_from(["bytes", "kib", "mib", "gib", "tib"]),
    st.floats(0.001, 1e6),
)
def test_a_decimal_size_knows_what_it_would_be_as_a_binary_one(
    unit: str, own: str, value: float
) -> None:
    (found,) = parse_constraints(f"memory_{own} <= {value!r} {unit}")
    (binary,) = parse_constraints(f"memory_{own} <= {value!r} {unit[0].upper()}iB")
    assert found.binary is not None
    assert found.binary.limit == binary.limit > found.limit
    assert binary.binary is None


@pytest.mark.parametrize(
    "text", ["memory_gb <= 16 GB", "memory_mb <= 16 GB", "rate_gb_per_s > 2 GB/s"]
)
def test_a_column_in_decimal_units_leaves_nothing_open(text: str) -> None:
    (found,) = parse_constraints(text)
    assert found.binary is None


@given(
    st.sampled_from(["a", "time_ms", "memory_bytes", "tpot_s"]),
    st.floats(-1e12, 1e12).filter(lambda value: value == 0 or abs(value) > 1e-9),
    st.sampled_from(["<=", ">="]),
)
def test_a_limit_relaxed_to_a_value_can_be_typed_and_admits_it(
    column: str, value: float, op: str
) -> None:
    unit = {"a": "", "time_ms": "ms", "memory_bytes": "bytes", "tpot_s": "s"}[column]
    (limit,) = parse_constraints(f"{column} {op} 1 {unit}")
    (relaxed,) = parse_constraints(limit.relaxed_to(value))
    assert relaxed.limit >= value if op == "<=" else relaxed.limit <= value
    assert relaxed.limit == pytest.approx(value, rel=1e-4)
