"""Results of released versions, kept as they were written: they stay readable and verifiable."""

import shutil
from pathlib import Path

import msgspec
import pytest

from catalog.errors import ResultsError
from orchestrator.experiment.experiment import Experiment
from orchestrator.results.manifests import SCHEMA_VERSION, read_manifests
from orchestrator.results.rows import rows_of
from orchestrator.run.events import RunEvent
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows
from orchestrator.verify import verify_directory

GOLDEN = Path(__file__).with_name("golden")
VERSIONS = sorted(GOLDEN.iterdir())


@pytest.fixture(params=VERSIONS, ids=lambda path: path.name)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(request.param, tmp_path / "old"))


def test_every_schema_version_has_its_golden_results() -> None:
    assert [path.name for path in VERSIONS] == [f"v{n}" for n in range(1, SCHEMA_VERSION + 1)]


def test_golden_results_are_whole_and_keep_their_figures(old: Path) -> None:
    assert verify_directory(old) == []
    by_strategy = {row["strategy"]: row for row in run_rows(old) if row["verdict"] == "valid"}
    assert set(by_strategy) == {"tp", "ep"}
    tp = by_strategy["tp"]
    assert (tp["model"], tp["gpu_type"], tp["total_output_tokens"]) == (
        "Mixtral-8x7B", "A100-80GB", 12,
    )  # fmt: skip
    (failed,) = [m.record for m in read_manifests(old) if m.record.verdict == "failed"]
    assert failed.verdict_reasons == "OOM_WEIGHTS"
    for manifest in read_manifests(old):
        for file in manifest.files:
            assert [row.output_tokens for row in rows_of(old / file.path)] == [4, 4, 4]


async def test_the_same_study_resumes_on_golden_results(old: Path) -> None:
    experiment = msgspec.json.decode((old / "experiment.json").read_bytes(), type=Experiment)
    events: list[RunEvent] = []
    await run_study(await prepare(experiment), old, listen=events.append)
    assert events == []


def test_a_field_of_a_later_version_is_refused_by_name_and_not_dropped(old: Path) -> None:
    path = next((old / "runs").iterdir())
    path.write_bytes(path.read_bytes().replace(b'{"schema":1,', b'{"schema":1,"later":1,'))
    with pytest.raises(ResultsError, match="later"):
        read_manifests(old)
