"""Estimates against published measurements of vLLM servers."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from catalog.hardware_table import GPUS
from catalog.versions import release
from perfmodel.constants import DEFAULT, ROOFLINE, VLLM_2026
from perfmodel.fitted_error import Asked
from perfmodel.known_error import (
    KNOWN_ERRORS,
    LEVEL_SINCE,
    SLOWER_BEFORE,
    error_bounds,
    version_note,
)
from perfmodel.left_out import (
    EACH,
    GROUPS,
    left_out_errors,
    left_out_fits,
    left_out_pairs,
    summaries,
)
from perfmodel.published import (
    FIGURES,
    estimate,
    lengths_of,
    log_error,
    log_errors,
    middle,
    published_points,
    settings_of,
)
from strategies import parse_layout

POINTS = published_points()
# One of each server's loads in a dozen, so that the quick suite stays quick.
FEW = sorted(POINTS, key=lambda point: point.concurrency * point.output_len)[::12]


def within(errors: "np.ndarray[tuple[int, ...], np.dtype[np.float64]]", share: float) -> float:
    return float(np.exp(np.nanquantile(np.abs(errors), share)))


def test_every_point_names_where_it_was_read() -> None:
    assert len(POINTS) == 216
    assert all(point.source_url.startswith("https://") for point in POINTS)
    assert {point.gpu for point in POINTS} == KNOWN_ERRORS[VLLM_2026.name].gpus


def test_lengths_are_drawn_as_a_source_drew_them_and_alike_every_time() -> None:
    drawn = next(point for point in POINTS if point.length_spread and point.concurrency == 64)
    equal = next(point for point in POINTS if not point.length_spread)
    assert set(lengths_of(equal)) == {(equal.input_len, equal.output_len)}
    for position, mean in enumerate((drawn.input_len, drawn.output_len)):
        sizes = [each[position] for each in lengths_of(drawn)]
        # InferenceX: evenly between 80 and 100 % of nominal, whose mean is 90 %.
        assert 0.88 * mean <= min(sizes) < 0.92 * mean
        assert 1.08 * mean < max(sizes) <= 1.12 * mean
        assert np.mean(sizes) == pytest.approx(mean, rel=0.02)
    assert lengths_of(drawn) == lengths_of(drawn)
    assert max(map(sum, lengths_of(drawn))) <= drawn.longest


def test_a_point_s_cache_is_of_the_type_that_its_technique_names() -> None:
    plain = msgspec.structs.replace(POINTS[0], technique="fp8")
    small = msgspec.structs.replace(plain, technique="fp8+kv-fp8")
    assert settings_of(plain, VLLM_2026).conventions.kv_dtype is None
    assert settings_of(small, VLLM_2026).conventions.kv_dtype == "fp8"


def test_the_first_wave_counts_as_often_as_it_was_sent() -> None:
    """Two in flight and ten requests in all, of which six are simulated: a fifth, not a third."""
    point = msgspec.structs.replace(POINTS[0], concurrency=2, num_prompts=10, stat="mean")
    values = np.array([10.0, 10.0, 1.0, 1.0, 1.0, 1.0])
    assert middle(point, values) == pytest.approx(0.2 * 10 + 0.8 * 1)
    assert middle(msgspec.structs.replace(point, num_prompts=2), values[:2]) == 10
    assert middle(msgspec.structs.replace(point, stat="median"), values) == 1


@pytest.mark.slow
def test_the_default_is_nearer_to_measurements_than_an_assumed_roofline() -> None:
    few = FEW[::2]
    default, assumed = log_errors(few, DEFAULT), log_errors(few, ROOFLINE)
    for column in range(2):
        assert within(default[:, column], 0.5) < within(assumed[:, column], 0.5) - 0.3


@pytest.mark.slow
def test_a_sample_of_points_is_as_near_as_is_told() -> None:
    errors = log_errors(FEW, VLLM_2026)
    known = KNOWN_ERRORS[VLLM_2026.name]
    for name, column in zip(FIGURES, errors.T, strict=True):
        assert within(column, 0.5) <= known.typical[name] * 1.1
        assert within(column, 0.8) <= known.nine_of_ten[name]


@pytest.mark.slow
def test_all_points_are_as_near_as_is_told_and_the_bounds_hold_nine_in_ten() -> None:
    errors = log_errors(POINTS, VLLM_2026)
    known = KNOWN_ERRORS[VLLM_2026.name]
    for name, column in zip(FIGURES, errors.T, strict=True):
        assert within(column, 0.5) == pytest.approx(known.typical[name], abs=0.06)
        column = column[~np.isnan(column)]
        inside = np.mean(np.abs(column) <= np.log(known.nine_of_ten[name]))
        assert 0.85 <= inside <= 0.95
    old = {"GPUStack lab": 0.0, "NVIDIA aic-gap": 0.0}
    assert old.keys() == {
        each.source
        for each in POINTS
        if each.engine_version and release(each.engine_version) < release(LEVEL_SINCE)
    }
    for source in old:
        rows = [each.source == source for each in POINTS]
        old[source] = float(np.exp(np.nanmedian(errors[rows, 0])))
    assert tuple(round(each, 1) for each in sorted(old.values())) == SLOWER_BEFORE


def test_servers_of_old_versions_are_said_to_have_been_slower() -> None:
    told = version_note(VLLM_2026.name, "0.11.0")
    assert told is not None
    assert "1.1 and 1.4 times slower" in told
    assert version_note(VLLM_2026.name, "0.18.0") is None
    assert version_note(VLLM_2026.name, None) is None, "the newest is assumed"
    assert version_note(ROOFLINE.name, "0.11.0") is None, "it was compared with nothing"


def test_the_shipped_set_is_the_fit_to_all_points() -> None:
    fits = left_out_fits()
    for name, value in fits["all"][""].items():
        assert getattr(VLLM_2026, name) == pytest.approx(value, rel=0.005)
    for group in ("source", "model", "gpu"):
        assert set(fits[group]) == {getattr(point, group) for point in POINTS}


@pytest.mark.slow
def test_bounds_hold_nine_in_ten_of_sources_models_and_gpus_left_out_of_the_fit() -> None:
    known = KNOWN_ERRORS[VLLM_2026.name]
    found = [
        (group, name, log_error(p, estimate(p, constants)))
        for group, name, p, constants in left_out_pairs(POINTS)
    ]
    told = {(each.group, each.name): each for each in left_out_errors()}
    for each in summaries(found):
        assert each.half == pytest.approx(told[each.group, each.name].half, rel=0.02)
        assert each.nine_of_ten == pytest.approx(told[each.group, each.name].nine_of_ten, rel=0.02)
    errors = np.abs([error for *_, error in found])
    assert len(errors) == 3 * len(POINTS)
    for group in range(3):
        part = errors[group * len(POINTS) : (group + 1) * len(POINTS)]
        for name, column, most in zip(FIGURES, part.T, (1.2, 1.25, 1.65), strict=True):
            column = column[~np.isnan(column)]
            assert np.exp(np.quantile(column, 0.5)) <= most
            assert 0.85 <= np.mean(column <= np.log(known.nine_of_ten[name])) <= 0.96


def test_errors_are_told_of_each_source_model_and_gpu_left_out() -> None:
    told = left_out_errors()
    for group in GROUPS:
        values = [getattr(point, group) for point in POINTS]
        of_kind = {each.name: each.points for each in told if each.group == group}
        assert of_kind == {EACH: len(POINTS), **{name: values.count(name) for name in values}}
    for each in told:
        assert all(1 <= factor <= each.nine_of_ten[name] for name, factor in each.half.items())


@pytest.mark.slow
def test_a_few_points_left_out_are_within_the_bounds() -> None:
    pairs = [(p, constants) for *_, p, constants in left_out_pairs(POINTS)]
    few = sorted(pairs, key=lambda pair: pair[0].concurrency * pair[0].output_len)[::40]
    errors = np.abs([log_error(p, estimate(p, constants)) for p, constants in few])
    bound = np.log(KNOWN_ERRORS[VLLM_2026.name].nine_of_ten["output_throughput"])
    assert np.mean(errors[:, 0] <= bound) >= 0.7


def test_a_question_beyond_what_was_compared_is_named_and_has_wider_bounds() -> None:
    known, h200 = KNOWN_ERRORS[VLLM_2026.name], GPUS["H200"]
    inside = Asked(total_params=120e9, input_len=1000, output_len=1000, in_flight=64)
    layout = parse_layout("tp4")
    assert known.outside(layout, h200, inside) == ()
    for name, value in (("total_params", 7e9), ("input_len", 10**6), ("in_flight", 10**5)):
        asked = replace(inside, **{name: value})
        assert len(known.outside(layout, h200, asked)) == 1
        wider, plain = (known.factors(layout, h200, each) for each in (asked, inside))
        assert all(wider[name] > plain[name] for name in plain)


def test_the_points_span_what_is_called_known() -> None:
    reach = KNOWN_ERRORS[VLLM_2026.name].reach
    prompts = [point.input_len for point in POINTS]
    assert [min(prompts), max(prompts)] == list(reach["input_len"])
    by_source = [[p for p in POINTS if p.source == each] for each in {p.source for p in POINTS}]
    # Of loads and short answers only what two sources have.
    loads = sorted(max(point.concurrency for point in each) for each in by_source)
    answers = sorted(min(point.output_len for point in each) for each in by_source)
    assert loads[-2] == reach["in_flight"][1]
    assert answers[1] == reach["output_len"][0]


def test_each_reason_to_doubt_widens_the_bounds_further() -> None:
    known, asked = KNOWN_ERRORS[VLLM_2026.name], Asked(in_flight=1000, output_len=4)
    layout = parse_layout("dp4+ep")
    one = known.factors(layout, GPUS["H200"])["output_throughput"]
    three = known.factors(layout, GPUS["H200"], asked)["output_throughput"]
    assert one == pytest.approx(1.6**1.5)
    assert three == pytest.approx(1.6 ** (1 + 1.25 * 3) ** 0.5)


def test_bounds_are_wider_where_nothing_was_published_and_absent_where_nothing_is_known() -> None:
    figures: dict[str, float | None] = {"output_throughput": 100.0, "mean_ttft_ms": None}
    h200, b200 = GPUS["H200"], GPUS["B200"]
    near = error_bounds("vllm-2026", parse_layout("tp4+ep"), h200, figures)
    assert near["low_output_throughput"] == pytest.approx(100 / 1.6)
    assert near["high_output_throughput"] == pytest.approx(160)
    assert near["low_mean_ttft_ms"] is near["high_mean_ttft_ms"] is None
    for layout, gpu in (("tp4", b200), ("dp4+ep", h200), ("tp16", h200), ("pp2+tp2", h200)):
        far = error_bounds("vllm-2026", parse_layout(layout), gpu, figures)
        assert far["low_output_throughput"] == pytest.approx(100 / 1.6**1.5)
    unknown = error_bounds("roofline", parse_layout("tp4"), h200, figures)
    assert set(unknown.values()) == {None}
