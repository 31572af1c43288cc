"""A reader that leaves early, and the program's own flags."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moeserve import __version__
from moeserve.cli import main
from moeserve.cli.show import Format, note, show

FULL = Path("/dev/full")
TINY = [
    "--engine", "simulated", "--model", "tiny-olmoe", "--strategy", "tp,ep", "--workload",
    "8:4:4", "-c", "1,2,4,8",
]  # fmt: skip


def start(*arguments: str, stdout: int, stderr: int | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "moeserve", *arguments], stdout=stdout, stderr=stderr
    )


def to_nobody(*arguments: str, both: bool = False) -> tuple[int, bytes]:
    """Run with standard output (and error) into a pipe that nobody reads; its code and stderr."""
    read, write = os.pipe()
    os.close(read)
    with start(*arguments, stdout=write, stderr=write if both else subprocess.PIPE) as process:
        os.close(write)
        _, told = process.communicate(timeout=120)
    return process.returncode, told or b""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pipes") / "out"
    with pytest.raises(SystemExit):
        main(["run", *TINY, "-o", str(root), "-q"])
    return root


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["table", "csv", "json"])
def test_a_reader_that_has_gone_is_no_error(results: Path, format_: str) -> None:
    code, told = to_nobody("results", str(results), "--format", format_)
    assert code == 0
    assert b"Traceback" not in told
    assert b"BrokenPipe" not in told


@pytest.mark.slow
def test_a_help_page_nobody_reads_to_its_end_is_no_error() -> None:
    assert to_nobody("--help")[0] == 0


@pytest.mark.slow
def test_a_study_goes_on_to_its_end_when_nobody_reads_its_progress(tmp_path: Path) -> None:
    code, _ = to_nobody("run", *TINY, "-o", str(tmp_path / "out"), both=True)
    assert code == 0
    assert len(list((tmp_path / "out" / "runs").glob("*.json"))) == 8


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_said(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([flag])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"moeserve {__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_completion_that_knows_the_commands(shell: str) -> None:
    words = {
        "COMP_WORDS": "moeserve comp",
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": "moeserve comp",
    }
    told = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'moeserve'; "
         "from moeserve.cli import main; main()"],
        env={**os.environ, **words, "_MOESERVE_COMPLETE": f"complete_{shell}",
             "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "compare" in told.stdout
    assert "report" not in told.stdout


@pytest.mark.slow
def test_a_table_in_a_pipe_is_read_back_whole(results: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-m", "moeserve", "results", str(results), "--format", "json"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert len(json.loads(out.stdout)) == 8


def code_of(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", ["--version", "--help", "strategies"])
def test_a_result_that_a_full_disk_does_not_take_is_an_error_of_the_storage(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert code_of(command) == 3
    assert capsys.readouterr().err == "moeserve: writing the result: No space left on device\n"


def test_a_log_whose_disk_is_full_ends_no_study(monkeypatch: pytest.MonkeyPatch) -> None:
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        note("1 of 2 runs")
        note("2 of 2 runs")
        assert os.path.samestat(os.fstat(full.fileno()), Path(os.devnull).stat())


def test_closed_streams_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as closed:
        for name in ("stdin", "stdout", "stderr"):
            closed.setattr(sys, name, None)
        assert code_of("strategies") == 0
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            stream.close()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_escaped(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with io.TextIOWrapper(io.BytesIO(), encoding=encoding) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert code_of("schema") == 0
        stream.seek(0)
        assert "×" in str(json.loads(stream.read()))
        assert code_of("--help") == 0


def test_a_table_of_nothing_is_no_empty_line(capsys: pytest.CaptureFixture[str]) -> None:
    show([], Format.table)
    assert capsys.readouterr().out == ""
