"""Each figure of a file in its column, in our unit, and what is made of what is missing."""

from pathlib import Path
from typing import Any

import pytest

from analysis.importers import inferencex, vllm
from analysis.importers.document import MOST_EXACT, Document, read_documents
from catalog.errors import BadFile
from tests.analysis.importers.shapes import AGENTIC, INFERENCEX, VLLM

HERE = Path("there.json")


def of(data: dict[str, Any]) -> Document:
    return Document(data, HERE)


LATENCIES = {
    f"{s}_{m}_ms": 100.0 * place + number
    for place, m in enumerate(("ttft", "tpot", "itl", "e2el"), 1)
    for number, s in enumerate(("mean", "median", "std", "p90", "p95", "p99"))
}


def test_every_figure_of_vllm_s_file_is_its_own_column() -> None:
    # 100 requests of 101 tokens: gaps as the totals give them, (401 − 101)·100/(10,100 − 100)… ms.
    told = {**VLLM, **LATENCIES, "mean_e2el_ms": 401.0, "mean_ttft_ms": 101.0, "mean_itl_ms": 3.0,
            "total_output_tokens": 10_100, "request_goodput": 7.5, "failed": 3,
            "effective_concurrency": 12.5}  # fmt: skip
    found = vllm.result(of(told))
    summary = {name: told[name] for name in vllm.SAME_KEYS}
    assert dict(found.summary) == summary
    assert (found.tool, found.model, found.num_prompts) == ("vllm bench serve", "moe-a", 100)
    assert (found.max_concurrency, found.request_rate, found.burstiness) == (16, None, None)
    assert (found.input_len, found.output_len) == (1000.0, 101.0)
    assert (found.asked, found.rounded, found.replicate) == ((None, None), False, 0)
    assert found.started_at == "2026-01-01T00:00:00"
    assert (found.layout, found.gpu_type) == (None, "")
    assert found.labels["client_backend"] == "vllm"
    assert "num_prompts_source" not in found.labels


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"request_rate": 4.0}, "request_rate", 4.0),
        ({"request_rate": 4.0}, "burstiness", 1.0),
        ({"request_rate": "inf"}, "burstiness", None),
        ({"run_number": 3}, "replicate", 3),
        ({"run_number": -3}, "replicate", 0),
        ({"random_input_len": 512, "random_output_len": 256}, "asked", (512, 256)),
        ({"isl": 512, "osl": 0}, "asked", (512, None)),
        ({"num_prompts": None, "failed": 5}, "num_prompts", 105),
        ({"num_prompts": None, "completed": None}, "num_prompts", None),
        ({"printed": True}, "rounded", True),
        ({"printed": True}, "tool", "printed summary"),
        ({"gpu": "h100"}, "gpu_type", "h100"),
        ({"hw": "a", "gpu_type": "b"}, "gpu_type", "b"),
        ({"date": "2026-01-02T03:04:05"}, "started_at", "2026-01-02T03:04:05"),
        ({"date": "x" * 50}, "started_at", "x" * 40),
        ({"max_concurrency": 0}, "max_concurrency", None),
    ],
)
def test_what_is_asked_for_is_read_from_its_key(
    changes: dict[str, Any], field: str, value: object
) -> None:
    data = {k: v for k, v in {**VLLM, **changes}.items() if v is not None}
    assert getattr(vllm.result(of(data)), field) == value


@pytest.mark.parametrize(
    ("changes", "layout"),
    [
        ({"tp": 4}, "tp4"), ({"tensor_parallel_size": 4, "tp": 2}, "tp4"),
        ({"tp": 2, "dp_size": 2, "ep": True}, "tp+ep"), ({"pp": 2, "tp": 4}, "pp2+tp4"),
        ({"data_parallel_size": 8, "enable_expert_parallel": "true"}, "dp8+ep"),
        ({"tp": 4, "enable_ep": "no"}, "tp4"),
    ],
)  # fmt: skip
def test_a_layout_is_read_by_any_of_its_names(changes: dict[str, Any], layout: str) -> None:
    found = vllm.result(of({**VLLM, **changes})).layout
    assert found is not None
    assert found.name == layout


def test_old_names_of_the_same_figures_are_read_and_new_ones_win() -> None:
    old = {k: v for k, v in VLLM.items() if k != "total_token_throughput"}
    old |= {"input_throughput": 10_000.0, "request_goodput:": 5.0, "mean_latency_ms": 77.0}
    summary = vllm.result(of(old)).summary
    assert summary["total_token_throughput"] == 11_000.0
    assert (summary["request_goodput"], summary["mean_e2el_ms"]) == (5.0, 77.0)
    both = vllm.result(of({**old, "total_token_throughput": 9.0, "mean_e2el_ms": 8.0})).summary
    assert (both["total_token_throughput"], both["mean_e2el_ms"]) == (9.0, 8.0)


@pytest.mark.parametrize(("failed", "completed", "found"), [
    (0, 100, 0), (3, 100, 3), (0, 90, 10), (12, 90, 12), (None, 90, 10), (None, 101, None),
])  # fmt: skip
def test_requests_that_did_not_complete_are_counted_by_whoever_says_more(
    failed: int | None, completed: int, found: int | None
) -> None:
    data = {**VLLM, "failed": failed, "completed": completed}
    data = {name: value for name, value in data.items() if value is not None}
    assert vllm.result(of(data)).summary["failed"] == found


DETAILED = {
    **VLLM, "num_prompts": 3, "completed": 2, "max_concurrency": 2, "output_throughput": 4.0,
    "duration": 3.0, "request_goodput": 0.5,
    "start_times": [100.0, 100.5, 101.0], "ttfts": [0.5, 0.25, 0.0],
    "itls": [[0.25, 0.5], [0.75], []], "input_lens": [10, 20, 30], "output_lens": [3, 2, 0],
    "errors": ["", "", "Traceback\n  x\nTimeoutError: late"],
}  # fmt: skip


def test_a_detailed_file_s_requests_have_their_times_from_the_first_send() -> None:
    found = vllm.result(of(DETAILED))
    one, two, lost = found.rows
    assert (one.sent_s, one.due_s, one.done_s) == (0.0, 0.0, 1.25)
    assert one.token_times_s.tolist() == [0.5, 0.75, 1.25]
    assert (two.sent_s, two.first_token_s, two.done_s) == (0.5, 0.75, 1.5)
    assert (two.input_tokens, two.output_tokens, two.events) == (20, 2, 2)
    assert (lost.status, lost.error_class, lost.error) == ("failed", "peer", "TimeoutError: late")
    assert (lost.sent_s, lost.done_s, lost.due_s, lost.input_tokens) == (1.0, 1.0, 1.0, 30)
    # Of all three: from 0 to 1.5 s, two completed with five tokens.
    assert found.summary["duration"] == 1.5
    assert found.summary["output_throughput"] == pytest.approx(5 / 1.5)
    assert found.summary["mean_ttft_ms"] == pytest.approx((500 + 250) / 2)
    assert (found.summary["failed"], found.summary["request_goodput"]) == (1, 0.5)
    assert found.measured["tool_output_throughput"] == 4.0
    assert found.measured["tool_duration"] == 3.0
    assert found.measured["peak_concurrency"] == 2


def test_a_request_that_waited_was_due_before_it_was_sent_in_an_open_loop_alone() -> None:
    waits = {"queue_times": [0.0, 0.25, 0.5]}
    rated = vllm.result(of({**DETAILED, **waits, "request_rate": 2.0}))
    assert [row.due_s for row in rated.rows] == [0.0, 0.25, 0.5]
    closed = vllm.result(of({**DETAILED, **waits}))
    assert [row.due_s for row in closed.rows] == [0.0, 0.5, 1.0]


def test_chunks_of_several_tokens_have_no_times_of_tokens() -> None:
    found = vllm.result(of({**DETAILED, "output_lens": [9, 2, 0]}))
    assert len(found.rows[0].token_times_s) == 0
    assert (found.rows[0].output_tokens, found.rows[0].first_token_s) == (9, 0.5)


def test_inferencex_rows_are_seconds_and_per_gpu() -> None:
    (row,) = inferencex.results(of(INFERENCEX))
    assert (row.model, row.engine, row.gpu_type, row.num_gpus) == ("m", "vllm", "h200", 12)
    assert (row.layout, row.asked, row.max_concurrency) == (None, (1024, 1024), 4)
    assert (row.num_prompts, row.labels["num_prompts_source"]) == (40, "10 a user by rule")
    assert row.summary["mean_ttft_ms"] == 180.0
    assert row.summary["total_token_throughput"] == 2400.0
    plain = {"conc": 8, "tp": 4, "ep": 1, "tput_per_gpu": 100.0, "output_tput_per_gpu": 40.0,
             "median_tpot": 0.012, "p99_e2el": 3.0}  # fmt: skip
    (flat,) = inferencex.results(of(plain))
    assert flat.layout is not None
    assert (flat.layout.name, flat.num_gpus) == ("tp4", 4)
    assert flat.summary["output_throughput_per_gpu"] == 40.0
    assert flat.summary["output_throughput"] == 160.0
    assert flat.summary["total_token_throughput"] == 400.0
    assert flat.summary["median_tpot_ms"] == pytest.approx(12.0)
    assert flat.summary["p99_e2el_ms"] == 3000.0
    for name in inferencex.ROWS:
        assert len(inferencex.results(of({name: [plain, plain]}))) == 2
    assert not inferencex.matches(of({"rows": [plain, {"tp": 1}]}))
    assert not inferencex.matches(of({"conc": 8, "tp": 4}))


@pytest.mark.parametrize(
    ("changes", "layout", "gpus"),
    [
        ({}, "tp8", 8),
        ({"ep": 8}, "tp8+ep", 8),
        ({"dp_attention": True}, "dp8", 8),
        ({"dp_attention": True, "ep": 8}, "dp8+ep", 8),
        ({"pp": 2}, "pp2+tp8", 16),
        ({"num_gpus": 32}, "tp8", 32),
        ({"disagg": True, "num_gpus": 6}, None, 6),
        ({"pcp_size": 2}, None, 16),
    ],
)
def test_inferencex_layouts_are_vllm_s(
    changes: dict[str, Any], layout: str | None, gpus: int
) -> None:
    (row,) = inferencex.results(of({"conc": 1, "tp": 8, "tput_per_gpu": 1.0, **changes}))
    assert (row.layout.name if row.layout else None, row.num_gpus) == (layout, gpus)


POOLS = {
    "conc": 64, "hardware": "gb200", "is_multinode": True, "prefill_tp": 4, "prefill_ep": 4,
    "prefill_dp_attention": "true", "decode_tp": 8, "decode_ep": 8, "decode_dp_attention": "true",
    "num_prefill_gpu": 8, "num_decode_gpu": 16, "tput_per_gpu": 1000.0,
    "output_tput_per_gpu": 150.0,
}  # fmt: skip
ONE_SERVER = {"disagg": False, "prefill_tp": 8, "prefill_ep": 8, "num_prefill_gpu": 16}


@pytest.mark.parametrize(
    ("changes", "layout", "gpus", "output", "total"),
    [
        ({"disagg": True}, None, 24, 16 * 150.0, 24_000.0),
        ({"disagg": True, "num_decode_gpu": 0}, None, 8, 8 * 150.0, 8000.0),
        (ONE_SERVER, "dp8+ep", 16, 16 * 150.0, 16_000.0),
        (ONE_SERVER | {"prefill_tp": 4}, None, 16, 16 * 150.0, 16_000.0),
    ],
)
def test_output_of_a_disaggregated_row_is_per_decoding_gpu(
    changes: dict[str, Any], layout: str | None, gpus: int, output: float, total: float
) -> None:
    (row,) = inferencex.results(of(POOLS | changes))
    assert (row.layout.name if row.layout else None, row.num_gpus) == (layout, gpus)
    assert (row.gpu_type, row.summary["output_throughput"]) == ("gb200", output)
    assert row.summary["total_token_throughput"] == total
    assert row.labels["decode_tp"] == 8


def test_a_disaggregated_row_without_its_pools_has_no_output_throughput() -> None:
    row = {"conc": 1, "tp": 8, "disagg": True, "tput_per_gpu": 9.0, "output_tput_per_gpu": 1.0}
    (found,) = inferencex.results(of(row | {"num_gpus": 6}))
    assert found.summary["total_token_throughput"] == 54.0
    assert not [name for name in found.summary if name.startswith("output_throughput")]


def test_the_agentic_shape_has_counts_and_a_duration() -> None:
    (row,) = inferencex.results(of(AGENTIC))
    assert (row.num_prompts, row.summary["completed"], row.summary["failed"]) == (50, 48, 2)
    assert (row.summary["duration"], row.summary["output_throughput"]) == (3000.0, 26.0)
    assert row.summary["request_throughput"] == 48 / 3000
    assert (row.summary["mean_ttft_ms"], row.summary["median_ttft_ms"]) == (1100.0, 1000.0)
    assert "num_prompts_source" not in row.labels


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3.0), ("2.5", 2.5), (None, None), ("N/A", None), (" - ", None), (float("nan"), None),
     (float("inf"), None), ("1e3", 1000.0)],
)  # fmt: skip
def test_a_number_is_finite_or_none(value: object, number: float | None) -> None:
    assert of({"x": value}).number("x") == number
    assert of({"x": value}).number("x", times=2.0) == (None if number is None else 2 * number)


@pytest.mark.parametrize("value", [True, "fast", [1], {"a": 1}, "inf", 10**400, 1e308])
def test_what_is_no_number_is_refused_with_its_place(value: object) -> None:
    document = Document({"x": value}, HERE, place="line 3")
    with pytest.raises(BadFile, match="line 3: x is"):
        document.number("x", times=10.0)


def test_counts_levels_and_settings_have_their_ranges() -> None:
    document = of({"n": 2.6, "most": float(MOST_EXACT), "zero": 0, "minus": -1, "inf": " INF "})
    assert (document.count("n"), document.count("most"), document.count("none")) == (3, 2**53, None)
    with pytest.raises(BadFile, match="too large for a count"):
        of({"n": 2**53 + 2}).count("n")
    assert [document.setting(name) for name in ("n", "zero", "minus", "inf")] == [2.6] + [None] * 3
    assert [document.level(name) for name in ("n", "zero", "inf")] == [3, None, None]


def test_paths_lead_through_objects_and_lists() -> None:
    document = of({"a": [{"b": {"c": 5}}, 7], "t": "x" * 2000, "on": "Yes", "off": 0})
    assert document.get("a.0.b.c") == 5
    assert [document.get(path) for path in ("a.2", "a.x", "a.0.z.c", "t.0")] == [None] * 4
    assert document.get("a.1") == 7
    assert len(document.text("t")) == 1000
    assert (document.text("on"), document.text("a")) == ("Yes", "")
    assert [document.flag(name) for name in ("on", "off", "a")] == [True, False, False]
    part = of({"a": {"b": {"c": 1}}}).part("a").part("b")
    assert (part.number("c"), part.place) == (1.0, "a.b")
    with pytest.raises(BadFile, match="a: x is missing"):
        of({"a": {}}).part("a").part("x")


def test_objects_are_numbered_as_they_lie_in_their_file(written: Any) -> None:
    def places(text: str, name: str) -> list[str]:
        return [document.place for document in read_documents(written(text, name))]

    assert places('{"a": 1}', "v.json") == [""]
    assert places('[{"a": 1}, {"a": 2}]', "v.json") == ["element 1", "element 2"]
    assert places('{"a": 1}', "v.jsonl") == ["line 1"]
    assert places('\n{"a": 1}\n\n{"a":\n2}\n{"a": 3}', "v.json") == ["line 2", "line 4", "line 6"]
    assert places("a,b\n1,x\n,2\n", "v.csv") == ["row 1", "row 2"]
    rows = [d.data for d in read_documents(written("a,b\n1,x\n ,2\n", "v.csv"))]
    assert rows == [{"a": 1.0, "b": "x"}, {"a": None, "b": 2.0}]
    with pytest.raises(BadFile, match="row 2: more cells than the header"):
        places("a,b\n1,2\n1,2,3\n", "v.csv")
    with pytest.raises(BadFile, match="element 2 is no JSON object"):
        places('[{"a": 1}, 2]', "v.json")
    with pytest.raises(BadFile, match="holds no objects"):
        places("[]", "v.json")
