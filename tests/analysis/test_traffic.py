"""What was sent, drawn and told: lengths and arrivals of a run, by hand and from a directory."""

import asyncio
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.data.traffic import arrivals, gap_variation, sent_traffic, shares
from analysis.plots.traffic import traffic_figure
from moeserve.cli import main
from orchestrator.experiment.experiment import Experiment
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows

ROWS = pd.DataFrame(
    {
        "due_s": [0.0, 1.0, 2.0, 3.0],
        "sent_s": [0.5, 1.0, np.nan, 3.0],
        "input_tokens": [10.0, 1000.0, np.nan, 10.0],
        "output_tokens": [5.0, 5.0, 0.0, 5.0],
        "part": ["chat", "sum", "sum", "chat"],
    }
)


def test_shares_count_every_known_length_once() -> None:
    tokens, share = shares(ROWS["input_tokens"])
    assert tokens.tolist() == [10, 1000]
    assert share.tolist() == pytest.approx([2 / 3, 1])
    assert arrivals(ROWS["sent_s"], ROWS["due_s"]).tolist() == [0.5, 1.0, 3.0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_shares_rise_to_one(tokens: list[float]) -> None:
    values, share = shares(tokens)
    assert np.all(np.diff(values) > 0)
    assert np.all(np.diff(share) > 0)
    assert share[-1] == pytest.approx(1)


def test_the_gaps_of_a_clock_a_poisson_process_and_a_burst() -> None:
    assert gap_variation([0.0, 1.0, 2.0, 3.0]) == 0.0
    assert gap_variation([0.0, 0.0, 0.0]) is None
    assert gap_variation([0.0, 1.0]) is None
    poisson = np.cumsum(np.random.default_rng(0).exponential(1, 20_000))
    assert gap_variation(poisson) == pytest.approx(1, abs=0.03)


def test_the_sentence_and_the_curves_say_what_the_rows_do() -> None:
    sent = sent_traffic("w", ROWS)
    assert sent.sentence.startswith("4 requests in 3.0 s; prompts of 340 tokens in the mean")
    assert [curve.name for curve in sent.lengths] == [
        "chat prompts", "chat answers", "sum prompts", "sum answers",
    ]  # fmt: skip
    assert (sent.least, sent.most) == (1.0, 1000.0)
    # 10 tokens lie a third of the way from 1 to 1000; the staircase begins at the bottom.
    assert sent.lengths[0].points == "33.3,100.0 33.3,0.0"
    (curve,) = sent.arrivals
    assert curve.points.endswith("100.0,0.0")


@pytest.mark.parametrize("lost", [["input_tokens"], ["input_tokens", "output_tokens", "sent_s"]])
def test_requests_of_which_little_is_known_are_drawn_all_the_same(lost: list[str]) -> None:
    rows = ROWS.assign(**dict.fromkeys(lost, np.nan))
    assert sent_traffic("w", rows).lasted_s in (0.0, 3.0)
    assert traffic_figure(rows, "run").axes


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sent") / "out"

    async def run() -> None:
        experiment = Experiment(
            models=("OLMoE-1B-7B",), engine="simulated", hardware="H100", strategies=("tp", "ep"),
            workloads=("64:8:20", "chat=64-99:8@3+sum=300:4@1,prompts=20"), request_rates=(9.0,),
        )  # fmt: skip
        await run_study(await prepare(experiment), root, listen=lambda _: None)

    asyncio.run(run())
    return root


def called(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.slow
def test_a_run_s_traffic_is_drawn(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = next(str(row["run_id"]) for row in run_rows(mixed) if "chat" in str(row["workload"]))
    file = tmp_path / "traffic.svg"
    asked = ("plot", str(mixed), "-k", "traffic", "-o", str(file))
    code, _, err = called(capsys, *asked, "--run", run)
    assert code == 0, err
    text = file.read_text()
    for name in ("chat prompts", "sum answers", "Requests so far"):
        assert name in text
    assert called(capsys, *asked)[0] == 2


@pytest.mark.slow
def test_the_page_shows_what_each_workload_was_sent(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert called(capsys, "report", str(mixed), "-o", str(page))[0] == 0
    text = page.read_text()
    assert text.count('aria-label="Lengths of ') == text.count('aria-label="Arrivals of ') == 2
    assert "20 requests in" in text


@pytest.mark.slow
def test_a_table_without_requests_has_no_such_section(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, page = tmp_path / "runs.csv", tmp_path / "page.html"
    pd.DataFrame(run_rows(mixed)).to_csv(table, index=False)
    assert called(capsys, "report", str(table), "-o", str(page))[0] == 0
    assert "Arrivals of" not in page.read_text()
