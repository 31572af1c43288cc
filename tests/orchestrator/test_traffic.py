"""An experiment's traffic: loads of traces, one seed for every layout, caches, conditions."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from catalog.errors import BadFile, BadValue, UnknownName
from orchestrator.engine import LaunchContext
from orchestrator.engines.vllm.command import server_command
from orchestrator.experiment.cells import Run, load_points
from orchestrator.experiment.experiment import Experiment
from orchestrator.measure.traffic import due_of, traffic_of, unwritten
from orchestrator.plan import Plan, make_plan
from orchestrator.results.condition import cell_columns
from orchestrator.results.store import Store
from orchestrator.run.capacity_search import searches
from workloads.load.profiles import parse_workload

ROWS = [(0, 40, 5), (1000, 60, 6), (4000, 50, 7), (10_000, 70, 8), (12_000, 30, 4)]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "trace.jsonl"
    keys = ("timestamp", "input_length", "output_length")
    path.write_text("".join(json.dumps(dict(zip(keys, r, strict=True))) + "\n" for r in ROWS))
    return path


def plan(*workloads: str, **fields: Any) -> Plan:
    usual = {"models": ("tiny-olmoe",), "strategies": ("tp", "ep"), "hardware": "H100"}
    return make_plan(Experiment(**usual | {"workloads": workloads} | fields), "simulated")


def run_of(made: Plan, number: int = 0) -> Run:
    return made.as_asked[number]


def test_a_trace_is_replayed_with_its_own_times_where_no_load_is_named(trace: Path) -> None:
    made = plan(f"trace:{trace}", "16:8:4")
    run = run_of(made)
    assert run.cell.load.request_rate == pytest.approx(4 / 12)
    assert due_of(run, unwritten(run).requests) == pytest.approx([0, 1, 4, 10, 12])
    loads = [each.cell.load.max_concurrency for each in made.as_asked[1:4]]
    assert loads == [1, 4, 8], "the other workload keeps its levels"


def test_a_rate_stretches_a_trace_and_a_concurrency_closes_the_loop(trace: Path) -> None:
    fast = run_of(plan(f"trace:{trace}", request_rates=(4.0,)))
    assert unwritten(fast).due_s == pytest.approx(np.array([0, 1, 4, 10, 12]) / 12)
    closed = run_of(plan(f"trace:{trace}", concurrency="2"))
    assert unwritten(closed).due_s is None
    assert unwritten(closed).requests.input_lens.tolist() == [40, 60, 50, 70, 30]


def test_every_layout_is_sent_the_same_and_every_replicate_another(trace: Path) -> None:
    made = plan("20-40:8~0.5:12,turns=2,think=1,prefix=16x2", concurrency="4", num_runs=2)
    tp, again, ep, _ = made.as_asked
    first, other, same = (traffic_of(run, vocab=500) for run in (tp, again, ep))
    assert np.array_equal(first.requests.input_lens, same.requests.input_lens)
    pairs = zip(first.prompts, same.prompts, strict=True)
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)
    assert not np.array_equal(first.requests.input_lens, other.requests.input_lens)


def test_a_salt_changes_what_is_sent_and_not_how_long_it_is() -> None:
    run = run_of(plan("20-40:8~0.5:12,turns=2", concurrency="4"))
    plain, salted = traffic_of(run, vocab=500), traffic_of(run, vocab=500, salt=7)
    assert np.array_equal(plain.requests.input_lens, salted.requests.input_lens)
    assert not np.array_equal(np.asarray(plain.prompts[0]), np.asarray(salted.prompts[0]))


def test_natural_ends_have_no_output_length_and_are_a_condition_of_their_own() -> None:
    forced = run_of(plan("16:8:4", concurrency="1")).cell
    natural = msgspec.structs.replace(forced, workload=parse_workload("16:8:4,natural"))
    assert cell_columns(forced)["output_len"] == 8
    assert cell_columns(natural)["output_len"] is None
    assert cell_columns(natural)["output_ends"] == "natural"
    assert forced.workload.name != natural.workload.name
    assert forced.cell_id != natural.cell_id


def test_where_no_model_is_there_none_can_end_an_answer() -> None:
    with pytest.raises(BadValue, match="leave `natural` out"):
        plan("16:8:4", "16:8:4,natural", concurrency="1")


def test_the_ids_of_one_length_each_hold_what_they_ever_held() -> None:
    cell = run_of(plan("16:8:4", concurrency="2")).cell
    assert msgspec.to_builtins(cell.workload.stored) == {
        "name": "16:8:4", "input_len": 16, "output_len": 8, "num_prompts": 4,
    }  # fmt: skip
    assert msgspec.to_builtins(cell.load) == {
        "max_concurrency": 2, "request_rate": None, "burstiness": None,
    }  # fmt: skip


def test_the_longest_request_is_held_to_the_context_before_anything_starts() -> None:
    with pytest.raises(BadValue, match=r"2048 tokens together, not 2100"):
        plan("100-1900:10-200:5", concurrency="1")
    with pytest.raises(BadValue, match="tokens together"):
        plan("200:100:12,turns=8", concurrency="1")


def test_a_longer_line_of_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [{"prompt_token_ids": [1] * n, "output_len": 9} for n in (4, 2040, 9)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(BadValue, match=r"p\.jsonl: line 2: prompt on tiny-olmoe"):
        plan(f"file:{path}", concurrency="1")
    path.write_text(json.dumps({"prompt_token_ids": [1, 600]}) + "\n")
    with pytest.raises(BadFile, match=r"line 1: prompt_token_ids: 600 is none of the 512"):
        plan(f"file:{path}", concurrency="1")


def test_no_more_prompts_are_asked_for_than_a_trace_has(trace: Path) -> None:
    assert run_of(plan(f"trace:{trace}", num_prompts=3)).cell.num_prompts == 3
    with pytest.raises(BadValue, match="at most the 5 requests"):
        plan(f"trace:{trace}", num_prompts=6)


def test_a_trace_s_capacity_is_searched_by_its_rate(trace: Path) -> None:
    made = plan(f"trace:{trace}", "16:8:4", find_max=True, goodput={"ttft": 100.0})
    by_rate, by_level = searches(made.experiment, made.groups[0])
    assert (by_rate.by_rate, by_rate.start) == (True, pytest.approx(4 / 12))
    assert (by_level.by_rate, by_level.start) == (False, 1.0)
    assert by_rate.run_at(8.0).cell.num_prompts == 5


@pytest.mark.parametrize(
    ("goodput", "told"),
    [({"chta.ttft": 1.0}, "Did you mean chat"), ({"chat.tfft": 1.0}, "ttft, tpot, e2el")],
)
def test_limits_of_a_class_that_nobody_has_are_refused(
    goodput: dict[str, float], told: str
) -> None:
    with pytest.raises((UnknownName, BadValue), match=told):
        plan("chat=16:8@1+long=64:8@1", concurrency="1", goodput=goodput)
    with pytest.raises(BadValue, match="a limit that is of 16:8:4"):
        plan("chat=16:8@1+long=64:8@1", "16:8:4", concurrency="1", goodput={"chat.ttft": 9.0})


@pytest.mark.parametrize(
    ("text", "fields", "fewest"),
    [
        ("a=16:8@99+b=64:8@1,prompts=20", {}, 100),
        ("a=16:8@299+b=64:8@1", {"num_prompts": 100}, 300),
        ("a=16:8:900+b=64:8:100", {"num_prompts": 4}, 10),
    ],
)
def test_a_run_that_has_no_request_of_some_class_is_refused(
    text: str, fields: dict[str, Any], fewest: int
) -> None:
    with pytest.raises(BadValue, match=rf"at least {fewest} prompts for one of b"):
        plan(text, concurrency="4", **fields)
    (enough, _) = plan(text, concurrency="4", num_prompts=fewest).as_asked
    assert np.bincount(unwritten(enough).requests.part_of).tolist() == [fewest - 1, 1]


def test_auto_sends_enough_for_a_request_of_each_class(trace: Path) -> None:
    made = plan("a=16:8@299+b=64:8@1", "a=16:8@0.7+b=64:8@0.3", concurrency="4", strategies=("tp",))
    assert [run.cell.num_prompts for run in made.as_asked] == [300, 64]


def test_what_is_one_workload_or_one_load_is_measured_once(trace: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.jsonl"
    elsewhere.mkdir()
    copied = elsewhere / trace.name
    copied.write_bytes(trace.read_bytes())
    texts = (
        "16:8:4",
        "16-16:8:4",
        "16:8,prompts=4",
        "016:08:4",
        f"trace:{trace}",
        f"trace:{copied}",
    )
    made = plan(*texts, request_rates=(2.0, 2.0), strategies=("tp",))
    names = [run.cell.workload.name for run in made.as_asked]
    assert [name.partition("#")[0] for name in names] == ["16:8:4", f"trace:{trace.name}"]


def test_limits_of_a_class_want_a_mix() -> None:
    with pytest.raises(BadValue, match="no workload here has classes"):
        plan("16:8:4", concurrency="1", goodput={"chat.ttft": 9.0})


def test_a_rate_curve_wants_a_rate_and_is_part_of_the_load() -> None:
    with pytest.raises(BadValue, match="with request_rates"):
        Experiment(rate_curve="steps:1x5,2x5")
    (point,) = load_points(Experiment(rate_curve="steps:1x5,2x5", request_rates=(2.0,)))
    assert point.rate_curve == "steps:1x5,2x5"


@pytest.mark.parametrize(
    ("options", "fields", "told"),
    [
        ("", {"request_rates": (2.0,), "burstiness": 0.5}, "burstiness.*stretches the gaps"),
        ("", {"burstiness": "constant"}, "burstiness.*with request_rates"),
        ("", {"attainment": 0.5}, "attainment.*with goodput"),
        ("", {"request_rates": (2.0,), "rate_curve": "ramp:1-2x5"}, "rate_curve.*stretches"),
        (",speed=2", {"concurrency": "2"}, "speed= of a trace alone"),
        (",speed=2", {"request_rates": (2.0,)}, "speed= of a trace alone"),
        (",speed=2@1+16:8@1", {}, "speed= of a trace alone"),
    ],
)
def test_what_recorded_arrivals_have_no_use_for_is_refused(
    trace: Path, options: str, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(BadValue, match=told):
        plan(f"trace:{trace}{options}", **fields)


@pytest.mark.parametrize(("text", "count"), [(",prompts=3", None), ("", 3)])
def test_the_rate_of_a_trace_is_that_of_the_requests_that_are_sent(
    trace: Path, text: str, count: int | None
) -> None:
    own = run_of(plan(f"trace:{trace}{text}", num_prompts=count))
    assert own.cell.load.request_rate == pytest.approx(2 / 4)
    assert unwritten(own).due_s == pytest.approx([0, 1, 4])
    fast = run_of(plan(f"trace:{trace}{text}", num_prompts=count, request_rates=(4.0,)))
    assert unwritten(fast).due_s == pytest.approx([0, 1 / 8, 4 / 8]), "two gaps in half a second"


def test_a_study_goes_on_wherever_its_files_lie_and_not_with_other_files(
    trace: Path, tmp_path: Path
) -> None:
    root, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = elsewhere / trace.name
    moved.write_bytes(trace.read_bytes())
    Store(root).create(Experiment(workloads=(f"trace:{trace}",)))
    Store(root).create(Experiment(workloads=(f"trace:{moved}",)))
    moved.write_bytes(trace.read_bytes()[:-20] + b"\n")
    with pytest.raises(Exception, match="workloads was"):
        Store(root).create(Experiment(workloads=(f"trace:{moved}",)))


@pytest.mark.parametrize(
    ("workloads", "kept"),
    [(("16:8:4",), False), (("9-16:8:4",), False), (("16:8:4", "16:8:4,prefix=9x2"), True),
     (("16:8:4,turns=2",), True)],
)  # fmt: skip
def test_vllm_keeps_prefixes_just_where_a_workload_shares_them(
    workloads: tuple[str, ...], kept: bool, tmp_path: Path
) -> None:
    assert any(parse_workload(text).shares for text in workloads) is kept
    made = plan(*workloads, concurrency="1", strategies=("tp",))
    context = LaunchContext(made.experiment, made.models["tiny-olmoe"], tmp_path)
    words = server_command(made.groups[0], context, base=["vllm", "serve"], port=1, served_name="m")
    assert ("--enable-prefix-caching" in words) is kept
    assert ("--no-enable-prefix-caching" in words) is not kept
