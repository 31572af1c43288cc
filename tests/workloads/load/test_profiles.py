import pytest

from catalog.errors import BadValue, UnknownName
from workloads.load.profiles import PROFILES, parse_workload


def test_the_three_profiles_are_those_of_the_study() -> None:
    shapes = {name: (w.input_len, w.output_len, w.num_prompts) for name, w in PROFILES.items()}
    assert shapes == {
        "decode-heavy": (128, 128, 100),
        "prefill-heavy": (512, 256, 50),
        "balanced": (1024, 512, 20),
    }


def test_an_explicit_workload_is_named_by_its_text() -> None:
    workload = parse_workload(" 16:32:8 ")
    assert (workload.name, workload.input_len, workload.output_len, workload.num_prompts) == (
        "16:32:8",
        16,
        32,
        8,
    )


def test_auto_sends_five_waves_and_never_too_few() -> None:
    workload = parse_workload("128:128:auto")
    assert workload.num_prompts is None
    assert workload.prompts_for(128) == 640
    assert workload.prompts_for(1) == workload.prompts_for(None) == 64


@pytest.mark.parametrize(("concurrency", "prompts"), [(12, 64), (13, 65), (200, 1000)])
def test_five_waves_are_sent_from_thirteen_in_flight_on(concurrency: int, prompts: int) -> None:
    assert parse_workload("1:1:auto").prompts_for(concurrency) == prompts


def test_the_largest_numbers_are_ten_million_each() -> None:
    workload = parse_workload("10000000:10000000:10000000")
    assert workload.input_len == workload.output_len == workload.num_prompts == 10_000_000
    for text in ("10000001:1:1", "1:10000001:1", "1:1:10000001", "10000001:1:auto"):
        with pytest.raises(BadValue, match="at most 10,000,000"):
            parse_workload(text)


def test_a_given_number_of_prompts_is_kept_whatever_the_concurrency() -> None:
    assert PROFILES["balanced"].prompts_for(128) == 20


def test_a_slip_of_the_pen_is_met_with_the_name_that_was_meant() -> None:
    with pytest.raises(UnknownName, match=r"Did you mean balanced\?.*INPUT:OUTPUT:PROMPTS"):
        parse_workload("ballanced")


@pytest.mark.parametrize(
    "text",
    [
        "0:1:1",
        "1:0:1",
        "1:1:0",
        "1:1",
        "1:1:1:1",
        "a:b:c",
        "1:-1:1",
        ":::",
        "99999999999:1:1",
        "999999999:1:1",
        "1:1:AUTO",
        "１:1:1",
    ],
)
def test_what_is_no_workload_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(BadValue, match="whole numbers of at least 1"):
        parse_workload(text)
