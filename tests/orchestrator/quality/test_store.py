"""Quality kept beside runs: what is read back is what was measured, and rows get its columns."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from catalog.errors import BadValue, ResultsError, UnknownName
from orchestrator.experiment.cells import Setup
from orchestrator.experiment.experiment import Experiment
from orchestrator.host.files import write_durably
from orchestrator.plan import Study, make_plan
from orchestrator.quality.measure import check_possible
from orchestrator.quality.record import QualityRecord, QualitySpec, reference_setup
from orchestrator.quality.rows import compare_all, quality_columns, quality_rows, with_quality
from orchestrator.quality.store import folder_of, read_scores, write_scores
from workloads.quality.scores import Scores
from workloads.quality.windows import check_text

STUDY = Experiment(
    models=("tiny-mixtral",), engine="vllm", strategies=("single", "tp"), techniques=("none,bf16",)
)
QUESTION = QualitySpec(window=8, tokens=64)


def scores(seed: int, *, off: float = 0.0, listed: int = 3) -> Scores:
    rng = np.random.default_rng(seed)
    tokens = np.arange(40, dtype=np.int32).reshape(5, 8)
    own = -rng.uniform(1, 3, size=(5, 7))
    ids = np.tile(np.arange(listed, dtype=np.int32), (5, 7, 1))
    tops = np.log(np.full((5, 7, listed), 0.2, dtype=np.float32))
    return Scores(tokens, own - off, ids, tops)


def keep(root: Path, setup: Setup, found: Scores) -> QualityRecord:
    name = QUESTION.configuration_id(setup)
    folder = folder_of(root)
    record = QualityRecord(
        configuration_id=name,
        setup=setup.stored,
        provenance="measured",
        gpu_type="CPU",
        text="sample",
        text_sha256=QUESTION.sha256,
        window=8,
        top=3,
        predicted_tokens=found.num_predicted,
        perplexity=found.perplexity,
        perplexity_low=None,
        perplexity_high=None,
        scores_sha256=write_scores(folder, name, found),
        started_at="2026-01-01T00:00:00+00:00",
        duration_s=1.0,
    )
    write_durably(folder / f"{name}.json", msgspec.json.encode(record))
    return record


@pytest.mark.parametrize("listed", [0, 3])
def test_scores_read_back_as_they_were_written(tmp_path: Path, listed: int) -> None:
    found = scores(1, listed=listed)
    plan = make_plan(STUDY, "vllm")
    again = read_scores(tmp_path, keep(tmp_path, plan.setups[0], found))
    for name in ("tokens", "logprobs", "top_ids", "top_logprobs"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


def test_scores_that_were_changed_since_are_refused(tmp_path: Path) -> None:
    record = keep(tmp_path, make_plan(STUDY, "vllm").setups[0], scores(1))
    path = tmp_path / "quality" / f"{record.configuration_id}.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ResultsError, match=r"is not the file that was written; with .*json moved"):
        read_scores(tmp_path, record)
    path.unlink()
    with pytest.raises(ResultsError, match=r"No such file or directory; with .*json moved away"):
        read_scores(tmp_path, record)


def test_a_reference_of_another_gpu_or_version_is_said(tmp_path: Path) -> None:
    plan = make_plan(STUDY, "vllm")
    for setup in plan.setups[:2]:
        record = keep(tmp_path, setup, scores(1))
    later = msgspec.structs.replace(record, gpu_type="H100", details={"version": "0.32.0"})
    path = tmp_path / "quality" / f"{record.configuration_id}.json"
    write_durably(path, msgspec.json.encode(later))
    (told,) = compare_all(tmp_path, plan, QUESTION, None)
    assert "measured on H100, 0.32.0, single/none on CPU" in told


def test_runs_get_their_configuration_s_quality_and_others_stay_as_they_are(tmp_path: Path) -> None:
    plan = make_plan(STUDY, "vllm")
    for setup in plan.setups[:2]:  # single with none, then with bf16
        keep(tmp_path, setup, scores(1, off=0.1 if setup.technique.name == "bf16" else 0.0))
    assert compare_all(tmp_path, plan, QUESTION, None) == []
    none, bf16 = quality_rows(tmp_path, plan, QUESTION)
    assert none["perplexity_ratio"] == 1.0
    assert bf16["perplexity_ratio"] == pytest.approx(np.exp(0.1))
    assert bf16["reference"] == "single/none"
    columns = quality_columns(tmp_path)
    row = {
        "engine": "vllm", "model": "tiny-mixtral", "strategy": "single", "technique": "bf16",
        "gpu_type": "CPU",
    }  # fmt: skip
    assert with_quality(row, columns)["perplexity"] == bf16["perplexity"]
    other = {**row, "strategy": "tp"}
    assert with_quality(other, columns) == other
    assert quality_columns(tmp_path / "elsewhere") == {}


def test_a_question_and_a_reference_are_checked_before_any_server_starts() -> None:
    plan = make_plan(STUDY, "vllm")
    assert reference_setup(plan, "tp/bf16", "tiny-mixtral").technique.name == "bf16"
    assert reference_setup(plan, "bf16", "tiny-mixtral").strategy == "single"
    with pytest.raises(UnknownName, match="Did you mean"):
        reference_setup(plan, "tp/bf1", "tiny-mixtral")
    for wrong in ({"window": 1}, {"tokens": 10}, {"top": 0}, {"top": 21}):
        with pytest.raises(BadValue):
            QualitySpec(**wrong)  # type: ignore[arg-type]


def test_a_text_too_short_for_any_tokenizer_is_refused_before_a_server_starts(
    tmp_path: Path,
) -> None:
    (short := tmp_path / "short.txt").write_text("seven b")
    check_text(str(short), window=8)
    with pytest.raises(BadValue, match="7 bytes"):
        check_text(str(short), window=9)


def test_a_simulated_engine_has_no_quality() -> None:
    plan = make_plan(Experiment(strategies=("tp",)), "simulated")
    with pytest.raises(BadValue, match="holds no weights to judge"):
        check_possible(Study(plan, "simulated", "", ()))


def test_another_question_is_another_configuration() -> None:
    setup = make_plan(STUDY, "vllm").setups[0]
    ids = {
        QualitySpec(window=window, tokens=64, top=top).configuration_id(setup)
        for window in (8, 16)
        for top in (1, 2)
    }
    assert len(ids) == 4
