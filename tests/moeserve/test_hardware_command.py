"""`moeserve hardware`, and a GPU of the user's own wherever a command asks for one."""

import csv
import io
import json
from pathlib import Path

import pytest

from catalog.gpu_row import GpuRow
from catalog.hardware_table import GPUS
from moeserve.cli import main

ROW = """
hardware: My-GPU
memory_bytes: 48e9
bandwidth_bytes_per_s: 900e9
bfloat16_flops_per_s: 180e12
"""
MODEL = ("-m", "OLMoE-1B-7B")
COMMANDS = {
    "plan": (*MODEL, "--engine", "simulated", "-s", "single", "-w", "16:8:4", "-c", "2"),
    "run": (
        *MODEL,
        "--engine",
        "simulated",
        "-s",
        "single",
        "-w",
        "16:8:4",
        "-c",
        "2",
        "-o",
        "out",
    ),
    "estimate": (*MODEL, "-s", "single", "-w", "16:8:4", "-c", "2"),
    "autotune": (*MODEL, "--gpus", "1", "--context", "1024"),
    "predict recommend": (*MODEL, "--gpus", "1", "--concurrency", "2", "--workload", "16:8:4"),
}


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's own rows: there, and empty."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "config" / "moeserve"
    folder.mkdir(parents=True)
    return folder


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def test_the_table_fits_a_terminal_of_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("hardware") == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(name in line for line in lines) for name in GPUS)


def test_json_and_csv_have_every_field_of_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("hardware", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["hardware"] for row in rows] == list(GPUS)
    assert all(row.keys() == {*GpuRow.__struct_fields__, "file"} for row in rows)
    assert all(row["source"] and row["file"] is None for row in rows)
    assert run("hardware", "--format", "csv") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["hardware"] for row in table] == list(GPUS)


def test_rows_of_the_users_own_are_shown_with_their_file(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (kept / "hardware.yaml").write_text(ROW)
    assert run("hardware", "--format", "json") == 0
    own = json.loads(capsys.readouterr().out)[-1]
    assert own["hardware"].startswith("My-GPU#")
    assert own["file"] == str(kept / "hardware.yaml")
    assert run("hardware") == 0
    assert f"from {kept / 'hardware.yaml'}" in capsys.readouterr().err


def test_a_row_that_is_shown_can_be_given_back_under_another_name(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("hardware", "--format", "json") == 0
    (shown,) = [r for r in json.loads(capsys.readouterr().out) if r["hardware"] == "H200"]
    mine = shown | {"hardware": "H200-mine", "aliases": None, "bandwidth_bytes_per_s": 4e12}
    Path("mine.json").write_text(json.dumps(mine))
    assert run("plan", *COMMANDS["plan"], "--hardware", "mine.json", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)[0]["gpu_type"].startswith("H200-mine#")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("asked", ["mine.yaml", "my-gpu"])
def test_every_command_takes_a_file_and_a_kept_row(
    command: str, asked: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = Path("mine.yaml") if asked == "mine.yaml" else kept / "hardware.yaml"
    where.write_text(ROW)
    words = (*command.split(), *COMMANDS[command], "--hardware", asked, "--format", "json")
    assert run(*words) == 0
    rows = json.loads(capsys.readouterr().out)
    named = rows[0].get("gpu_type") or rows[0]["hardware"]
    assert named.startswith("My-GPU#")


def test_the_row_that_the_documents_show_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "hardware.md").read_text()
    Path("mine.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    assert run("plan", *COMMANDS["plan"], "--hardware", "mine.yaml", "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)[0]["gpu_type"].startswith("My-GPU#")


def test_qs_takes_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text(ROW)
    assert run("qs", *MODEL, "--gpus", "2", "--context", "4096", "--hardware", "mine.yaml") == 0
    assert "48 GB" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("command", [*COMMANDS, "serve", "qs"])
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("none.yaml", "none.yaml: no such hardware file"),
        ("bad.yaml", "bad.yaml: memory_bytes: got 48.0, allowed: bytes"),
        ("H10O", "unknown hardware 'H10O'. Did you mean H100"),
    ],
)
def test_a_bad_gpu_ends_every_command_with_one_line_and_code_2(
    command: str, asked: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bad.yaml").write_text(ROW.replace("48e9", "48"))
    words = (
        COMMANDS.get(command)
        or {
            "serve": (*MODEL, "--engine", "simulated"),
            "qs": (*MODEL, "--gpus", "2", "--context", "4096"),
        }[command]
    )
    assert run(*command.split(), *words, "--hardware", asked) == 2
    err = capsys.readouterr().err.strip()
    assert told in err
    assert err.count("\n") == 0
