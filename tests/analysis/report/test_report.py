"""The page without a browser: what it says, what it escapes, and requests streamed from disk."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.data.frame import load
from analysis.data.requests import EDGES_S, LatencyCounts, quantiles_s, requests_of
from analysis.report.write import report_html, write_report
from analysis.web.packed import script_safe
from catalog.errors import BadFile, BadValue, UnknownName
from orchestrator.results.manifests import Manifest
from orchestrator.results.record import RunRecord
from orchestrator.results.rows import SCHEMA
from orchestrator.results.store import Store

Study = Callable[..., pd.DataFrame]


def directory(root: Path, small: Study, *, requests: int = 40) -> Path:
    """A results directory with request rows, as a run leaves it."""
    for folder in ("runs", "failed", "attempts", "environments"):
        (root / folder).mkdir(parents=True)
    store = Store(root)
    (root / "environments" / "e.json").write_text(json.dumps({"host": {"cpu": "x", "gpus": []}}))
    rng = np.random.default_rng(0)
    for row in small(2).to_dict("records"):
        known = {k: v for k, v in row.items() if k in RunRecord.__struct_fields__}
        missing = dict.fromkeys(("tp", "dp", "pp", "ep"))
        record = RunRecord(
            attempt=1, started_at="2026-01-01T00:00:00Z", technique="none", input_len=128,
            **missing, **known,
        )  # fmt: skip
        path = root / "attempts" / f"{record.run_id}.a1" / "requests.parquet"
        path.parent.mkdir()
        pq.write_table(request_rows(record.run_id, requests, rng), path)
        store.publish(Manifest(record=record, files=(store.stored(path),)))
    return root


def request_rows(run_id: str, count: int, rng: np.random.Generator) -> pa.Table:
    due = np.arange(count, dtype=float)
    columns = {name: [None] * count for name in SCHEMA.names}
    status = ["failed" if i == 0 else "ok" for i in range(count)]
    columns |= {
        "run_id": [run_id] * count, "request": range(count), "due_s": due, "sent_s": due,
        "first_token_s": due + 0.1, "done_s": due + 0.5, "output_tokens": [8] * count,
        "status": status, "error_class": ["timeout" if s == "failed" else "" for s in status],
    }  # fmt: skip
    return pa.table(columns, schema=SCHEMA)


@pytest.mark.slow
def test_a_results_directory_reads_like_its_table(tmp_path: Path, small: Study) -> None:
    root = directory(tmp_path / "out", small)
    frame = load(root)
    expected = small(2).set_index("run_id")["output_throughput"]
    found = frame.set_index("run_id")["output_throughput"]
    assert len(frame) == 54
    assert found.to_dict() == pytest.approx(expected.to_dict())
    assert frame["source_file"].unique().tolist() == [str(root)]


def test_an_empty_results_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with pytest.raises(BadFile, match="without a finished run"):
        load(tmp_path)


@pytest.mark.slow
def test_the_page_says_question_answer_origin_and_requests(tmp_path: Path, small: Study) -> None:
    root = directory(tmp_path / "out", small)
    write_report([root], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert (
        text.index("Which parallel layout")
        < text.index("use tp (2 × ")
        < text.index('id="figures"')
    )
    assert "these numbers come from a model of the GPU, not from one" in text
    assert "2160 single requests were read" in text
    assert "54 × timeout" in text
    assert "host.cpu" in text


@pytest.mark.slow
def test_requests_of_a_run_are_found_by_its_id(tmp_path: Path, small: Study) -> None:
    root = directory(tmp_path / "out", small)
    run_id = load(root)["run_id"].iloc[3]
    assert requests_of(root, run_id)["run_id"].unique().tolist() == [run_id]
    with pytest.raises(UnknownName, match="unknown run 'absent'"):
        requests_of(root, "absent")


def test_percentiles_from_batches_are_those_of_all_rows_to_a_bin() -> None:
    rng = np.random.default_rng(0)
    latencies = rng.lognormal(-2, 1, 20_000)
    counts = LatencyCounts({"a": 0, "b": 1})
    for part in np.array_split(latencies, 7):
        rows = request_rows("b", len(part), rng).drop_columns(["token_times_s"])
        done = pa.array(np.arange(len(part)) + part)
        rows = rows.set_column(rows.schema.get_field_index("done_s"), "done_s", done)
        rows = rows.set_column(
            rows.schema.get_field_index("status"), "status", pa.array(["ok"] * len(part))
        )
        for batch in rows.to_batches():
            counts.add(batch)
    width = EDGES_S[1] / EDGES_S[0]
    for share in (0.01, 0.5, 0.99):
        found = quantiles_s(counts.e2el[1], [share])[0]
        exact = np.quantile(latencies, share, method="inverted_cdf")
        assert exact <= found * (1 + 1e-9)
        assert found <= exact * width * (1 + 1e-9)
    assert quantiles_s(counts.e2el[0], [0.5]) == [None]


@pytest.mark.slow
def test_every_provenance_is_a_group_of_its_own(small: Study) -> None:
    both = pd.concat([small(), small(seed=1, provenance="measured")], ignore_index=True)
    text = report_html(both)
    assert text.index("Measured runs") < text.index("Simulated runs")
    assert "Estimate against measurement" in text
    assert "27 of 27 measured runs count, 27 of 27 simulated runs count" in text


@pytest.mark.slow
def test_runs_left_out_are_listed_with_their_reasons(small: Study) -> None:
    rows = small()
    rows.loc[:2, ["verdict", "verdict_reasons"]] = ["invalid", "ERRORS;TOO_SHORT"]
    text = report_html(rows)
    assert "The 3 runs left out" in text
    assert text.count("ERRORS;TOO_SHORT") >= 4


def test_a_study_without_a_valid_run_still_makes_a_page(small: Study) -> None:
    text = report_html(small(verdict="failed", verdict_reasons="ENGINE_ERROR"))
    assert "none of the 27 simulated runs is valid" in text


def sections(text: str) -> list[str]:
    return re.findall(r'<section id="(\w+)"', text)


def test_one_strategy_is_asked_what_it_carries(small: Study) -> None:
    rows = small(strategy="as served", goodput_limits="ttft:30", slo_target=0.9, completed=100)
    one = rows[rows["run_id"].str.contains("tp.decode")].assign(good_requests=[100, 95, 20])
    text = report_html(one)
    assert "What OLMoE-1B-7B carries" in text
    assert "How much load does the server carry" in text
    assert "Highest load within ttft:30 for 0.9 of requests: 8 concurrent requests" in text
    assert "the border is between 8 and 64" in text
    assert sections(text) == ["answer", "figures", "capacity", "validity", "runs", "reproduce"]
    assert "No comparison" not in text


@pytest.mark.slow
def test_one_load_is_said_and_not_an_error(small: Study) -> None:
    rows = small()
    assert "No crossover" in report_html(rows[rows["max_concurrency"] == 8])
    alone = rows[(rows["max_concurrency"] == 8) & (rows["strategy"] == "tp")]
    assert "Only tp was run, at one load: " in report_html(alone)
    assert "capacity" not in sections(report_html(alone))


@pytest.mark.slow
def test_copies_of_a_load_that_was_not_reached_are_valid_runs(small: Study) -> None:
    rows = small()
    text = report_html(rows.assign(num_prompts=16))
    assert "27 of 27 simulated runs count" in text
    assert "max_concurrency 64 was not reached" in text


@pytest.mark.slow
def test_the_papers_own_numbers_stand_only_where_they_were_asked_for(study: Study) -> None:
    text = report_html(study())
    assert "Table IV" in text
    assert "(paper" not in text
    assert "no like for like" not in text


def payload_of(text: str) -> dict[str, Any]:
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])


@pytest.mark.slow
def test_figures_know_what_was_in_flight_and_on_which_gpus(small: Study) -> None:
    rows = small().assign(effective_concurrency=lambda f: 0.9 * f["max_concurrency"])
    made = payload_of(report_html(rows))
    loads, flight = made["cells"]["load"], made["cells"]["in_flight"]
    assert flight == pytest.approx([0.9 * load for load in loads])
    gpus = {look["name"]: look["gpus"] for look in made["strategies"]}
    assert gpus == {"tp": "2 × A100-80GB", "ep": "2 × A100-80GB", "tp+ep": "4 × A100-80GB"}
    some = rows["effective_concurrency"].where(rows["strategy"] != "ep")
    partly = payload_of(report_html(rows.assign(effective_concurrency=some)))["cells"]
    assert partly["in_flight"].count(None) == 9
    assert set(payload_of(report_html(small()))["cells"]["in_flight"]) == {None}


@pytest.mark.slow
def test_price_and_energy_are_measures_where_they_are_known(small: Study) -> None:
    priced = small().assign(
        usd_per_million_output_tokens=1.5, joules_per_output_token=0.25, p99_itl_ms=np.nan
    )
    made = payload_of(report_html(priced))
    measures = {each["key"]: each for each in made["metrics"]}
    assert "($ per million" in measures["usd_per_million_output_tokens"]["label"]
    assert measures["joules_per_output_token"]["higher"] is False
    assert "p99_itl_ms" not in measures
    heads = made["carried"]["columns"]
    assert {"$ per million output tokens there", "J per output token there"} <= set(heads)
    plain = payload_of(report_html(small()))
    assert not [each for each in plain["metrics"] if "usd" in each["key"]]
    assert not [head for head in plain["carried"]["columns"] if "$" in head or "J per" in head]


@pytest.mark.slow
def test_intervals_of_what_is_above_zero_never_reach_below_it(small: Study) -> None:
    rows = small(2)
    wild = np.where(rows["replicate"] == 0, 0.05, 1.0)
    made = payload_of(report_html(rows.assign(output_throughput=rows["output_throughput"] * wild)))
    low = made["cells"]["output_throughput.low"]
    assert min(low) >= 0


@pytest.mark.slow
def test_techniques_are_arms_of_their_own(small: Study) -> None:
    rows = pd.concat([small(technique="none"), small(technique="int4", run_id="", seed=2)])
    assert "tp · int4" in report_html(rows)


@pytest.mark.slow
def test_open_and_closed_loops_share_a_page_but_no_axis(small: Study) -> None:
    rate = {"max_concurrency": np.nan, "request_rate": 4.0, "run_id": ""}
    text = report_html(pd.concat([small(2), small(2, seed=3).assign(**rate)], ignore_index=True))
    payload = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert set(payload["cells"]["kind"]["levels"]) == {"concurrency", "request rate"}
    assert {winner["load_kind"] for winner in payload["winners"]} == {"concurrency", "request rate"}
    assert "give the closed-loop and the open-loop results apart" in text


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u2028&"


@pytest.mark.slow
def test_no_name_can_leave_its_place_in_the_page(small: Study) -> None:
    text = report_html(small(model=HOSTILE, gpu_type=HOSTILE, verdict_reasons=HOSTILE))
    assert text.count("<script") == 2
    assert "<img" not in text
    payload = re.search(r'id="data">(.*?)</script>', text, re.S)[1]
    assert json.loads(payload)["order"]["model"] == [HOSTILE]
    assert not set("<>&\u2028") & set(payload)


@pytest.mark.slow
def test_the_policy_allows_this_script_and_style_alone(small: Study) -> None:
    text = report_html(small())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src &#39;none&#39;" in policy
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy
    assert not re.search(r'(src|href)="(?!#|data:,)', text)


def test_the_payload_has_no_nan() -> None:
    made = json.loads(script_safe({"a": [float("nan"), np.float64(1.0), np.bool_(True)]}))
    assert made == {"a": [None, 1, True]}


def test_the_output_must_be_a_page_in_a_folder(tmp_path: Path, small: Study) -> None:
    small().to_csv(tmp_path / "r.csv", index=False)
    with pytest.raises(BadValue, match=r"ends in \.html"):
        write_report([tmp_path / "r.csv"], tmp_path / "r.pdf")
