"""`--redo invalid`, a taken port, and pages and figures that nobody named a file for."""

import json
import socket
from pathlib import Path

import msgspec
import pytest

from moeserve.cli import main
from orchestrator.results.manifests import Manifest, read_manifests
from orchestrator.verify import verify_directory

TINY = [
    "--engine", "simulated", "--model", "tiny-olmoe", "--strategy", "tp,ep", "--workload",
    "8:4:4", "-c", "1,4",
]  # fmt: skip


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    code = end.value.code
    return code if isinstance(code, int) else 0


@pytest.fixture
def results(tmp_path: Path) -> Path:
    root = tmp_path / "out"
    assert call("run", *TINY, "-o", str(root), "-q") == 0
    return root


def spoil(root: Path, count: int) -> list[str]:
    """Make the verdict of some published runs invalid."""
    spoiled = []
    for path in sorted((root / "runs").glob("*.json"))[:count]:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        record = msgspec.structs.replace(
            manifest.record, verdict="invalid", verdict_reasons="CLIENT_LIMITED"
        )
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, record=record)))
        spoiled.append(record.run_id)
    return spoiled


@pytest.mark.slow
def test_invalid_runs_are_done_again_and_nothing_else_is(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in (results / "runs").glob("*.json")}
    spoiled = spoil(results, 2)
    assert call("run", *TINY, "-o", str(results), "-q") == 5
    told = capsys.readouterr().err
    assert "2 of 4 runs valid" in told
    assert "left out: CLIENT_LIMITED 2" in told
    assert call("run", *TINY, "-o", str(results), "-q", "--redo", "invalid") == 0
    assert "2 invalid runs to be done again" in capsys.readouterr().err
    found = {m.record.run_id: m.record for m in read_manifests(results)}
    assert {record.verdict for record in found.values()} == {"valid"}
    assert {run_id for run_id, record in found.items() if record.attempt == 2} == set(spoiled)
    kept = {name: data for name, data in before.items() if name[:-5] not in spoiled}
    assert kept == {name: (results / "runs" / name).read_bytes() for name in kept}
    assert verify_directory(results) == []


@pytest.mark.slow
def test_what_was_set_aside_is_kept_and_is_the_row_until_another_attempt_is(
    results: Path,
) -> None:
    from orchestrator.results.store import Store

    (run_id,) = spoil(results, 1)
    assert Store(results).set_aside("invalid") == [run_id]
    assert (results / "failed" / f"{run_id}.a1.json").exists()
    (row,) = [m.record for m in read_manifests(results) if m.record.run_id == run_id]
    assert row.verdict == "invalid"
    assert Store(results).set_aside("invalid") == []


@pytest.mark.slow
def test_another_experiment_s_runs_are_not_set_aside(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(results, 1)
    assert call("run", *TINY, "--seed", "7", "-o", str(results), "--redo", "invalid") == 2
    assert "another experiment" in capsys.readouterr().err
    assert len(list((results / "runs").glob("*.json"))) == 4


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_taken_port_is_one_line_before_anything_starts(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        model = ("--engine", "simulated", "--model", "tiny-olmoe")
        assert call("serve", *model, "--host", host, "--port", str(port)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--port: got {port}, allowed: a free port" in line


@pytest.mark.slow
def test_report_and_plot_go_beside_the_results(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call("report", str(results)) == 0
    assert call("plot", str(results)) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == [str(results / "report.html"), str(results / "throughput.svg")]
    assert call("results", str(results), "--format", "csv") == 0
    table = tmp_path / "runs.csv"
    table.write_text(capsys.readouterr().out)
    assert call("report", str(table)) == 0
    assert (tmp_path / "runs.report.html").exists()


@pytest.mark.slow
def test_the_file_a_run_leaves_is_an_experiment_to_go_on_with(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the next command names: more replicates of the same study."""
    study = results / "experiment.json"
    assert call("run", str(study), "-o", str(results), "--num-runs", "2", "-q") == 0
    assert json.loads(study.read_text())["num_runs"] == 2
    assert "8 of 8 runs valid" in capsys.readouterr().err
