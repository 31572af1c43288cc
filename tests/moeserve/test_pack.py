"""A finished study as one file: read like the directory, without names, and unpacked with care."""

import io
import json
import os
import shutil
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import BadFile
from moeserve.cli import main
from orchestrator.results.archive import opened, pack, unpack
from orchestrator.results.given import given_as
from orchestrator.results.names import NAME_MASK, Names

GRID = "-m OLMoE-1B-7B -s tp,ep -w 64:16:8 -w 32:8:8 -c 1,4 --num-runs 2"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    printed = capsys.readouterr()
    return int(str(ended.value.code)), printed.out, printed.err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "study"
    with pytest.raises(SystemExit) as ended:
        main(["run", "--engine", "simulated", "-q", "-o", str(root), *GRID.split()])
    assert ended.value.code == 0
    return root


@pytest.fixture
def study(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "study")


def packed(study: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> Path:
    output = study.parent / "handed on.tar.zst"
    code, out, err = run(capsys, "results", "pack", str(study), "-o", str(output), *flags)
    assert (code, out) == (0, ""), err
    return output


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "results {} --format json",
        "results {} --requests --format json",
        "verify {} --format json",
        "tables {} --format json",
        "anova {} --factor strategy --format json",
        "compare {} --reference tp --format json",
        "select {} --maximize output_throughput --format json",
        "export {} --to otlp",
    ],
)
def test_a_packed_study_says_what_its_directory_says(
    command: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = packed(study, capsys)
    told = [run(capsys, *(w.format(path) for w in command.split())) for path in (study, file)]
    assert told[0][0] == told[1][0]
    assert json.loads(told[0][1]) == json.loads(told[1][1])
    assert str(given_as(opened(file))) == str(file)


def test_a_packed_study_is_not_watched_and_what_is_no_directory_is_called_that(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, command in (("done.tar.zst", ["watch"]), ("rows.csv", ["export", "--to", "otlp"])):
        (tmp_path / name).write_text("")
        code, out, err = run(capsys, *command, str(tmp_path / name))
        assert (code, out) == (2, "")
        assert "a packed study" in err or "is no directory" in err
        assert "link" not in err


@pytest.mark.slow
def test_a_study_in_bundles_gives_the_same_archive(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = packed(study, capsys)
    code, out, err = run(capsys, "results", "compact", str(study))
    assert (code, out) == (0, "")
    assert "files before" in err
    data = before.read_bytes()
    before.unlink()
    assert packed(study, capsys).read_bytes() == data


@pytest.mark.slow
def test_pages_and_figures_go_beside_the_file_and_never_into_what_is_removed(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="moeserve[analysis] brings it")
    file = packed(study, capsys)
    code, _, err = run(capsys, "plot", str(file), "-k", "scaling")
    assert code == 0, err
    assert (file.parent / "handed on.scaling.svg").is_file()


@pytest.mark.slow
def test_names_and_secrets_stay_here(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = study / "servers" / "start.1" / "server.log"
    log.parent.mkdir(parents=True)
    secret, host = "hf_" + "a" * 30, socket.gethostname()
    log.write_text("x" * 200_000 + f"\nloaded by alice77 on {host} from /home/alice77/m {secret}\n")
    environment = next((study / "environments").glob("*.json"))
    known = json.loads(environment.read_text()) | {"user": "alice77", "note": f"on {host}, twice"}
    environment.write_text(json.dumps(known))
    root = opened(packed(study, capsys))
    tail = (root / "servers" / "start.1" / "server.log").read_text()
    assert len(tail) < 70_000
    texts = tail + (root / "environments" / environment.name).read_text()
    assert NAME_MASK in texts
    assert not [name for name in ("alice77", secret, host) if name in texts]
    kept = json.loads((root / "environments" / environment.name).read_text())
    assert kept["cpus"] == known["cpus"]


def test_names_are_packed_when_asked_for_and_secrets_never(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = study / "servers" / "start.1" / "server.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"{socket.gethostname()} hf_{'b' * 30}")
    root = opened(packed(study, capsys, "--with-names"))
    assert (root / "servers" / "start.1" / "server.log").read_text() == (
        f"{socket.gethostname()} ***"
    )


def test_no_owner_and_no_time_is_in_the_archive(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = packed(study, capsys)
    with pa.input_stream(str(file), compression="zstd") as raw:
        content = raw.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            assert (member.uname, member.gname, member.mtime, member.uid) == ("", "", 0, 0)


def test_rows_whose_hash_is_published_are_refused_where_they_hold_a_name(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    names = Names.asked(tmp_path, kept=False)
    file = io.BytesIO()
    pq.write_table(pa.table({"error": ["", f"cannot reach {socket.gethostname()}:8000"]}), file)
    with pytest.raises(BadFile, match="--with-names"):
        names.refuse_in(tmp_path / "requests.parquet", file.getvalue(), published=True)
    all_kept = Names.asked(tmp_path, kept=True)
    all_kept.refuse_in(tmp_path / "requests.parquet", file.getvalue(), published=True)


def test_links_and_pipes_of_a_directory_are_neither_read_nor_packed(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = study.parent / "outside.json"
    outside.write_text('{"user": "tokens"}')
    (study / "quality").mkdir()
    (study / "quality" / "link.json").symlink_to(outside)
    (study / "quality" / "linked").symlink_to(study.parent, target_is_directory=True)
    os.mkfifo(study / "quality" / "pipe.json")
    root = opened(packed(study, capsys))
    assert not (root / "quality").exists()


def test_a_damaged_study_is_not_packed(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next(study.glob("attempts/*/requests.parquet")).write_bytes(b"")
    code, _, err = run(capsys, "results", "pack", str(study), "-o", str(study.parent / "a.tar.zst"))
    assert code == 2
    assert "is not whole" in err
    assert not list(study.parent.glob("*.zst"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["pack", "{}"], "-o FILE.tar.zst"),
        (["pack", "{}", "-o", "{}/a.zip"], ".tar.zst"),
        (["pack", "{}", "-o", "{}/none/a.tar.zst"], "can be written"),
        (["pack", "{}", "{}", "-o", "{}/a.tar.zst"], "one DIR"),
        (["{}", "{}"], "one DIR"),
        (["{}", "--with-names"], "results pack DIR"),
    ],
)
def test_what_packing_needs_is_said(
    words: list[str], why: str, study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "results", *(word.format(study) for word in words))
    assert (code, out) == (2, "")
    assert why in " ".join(err.split())


Harm = Callable[[tarfile.TarFile], None]


def archive_of(path: Path, harm: Harm) -> Path:
    with (
        pa.CompressedOutputStream(str(path), "zstd") as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        add(archive, "runs/a.json", b"{}")
        harm(archive)
    return path


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **about: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in about.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(data))


HARMS: dict[str, Harm] = {
    "above": lambda a: add(a, "runs/../../../evil", b"x"),
    "absolute": lambda a: add(a, "/tmp/evil", b"x"),
    "elsewhere": lambda a: add(a, ".bashrc", b"x"),
    "link": lambda a: add(a, "runs/l", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "hard link": lambda a: add(a, "runs/l", type=tarfile.LNKTYPE, linkname="runs/a.json"),
    "device": lambda a: add(a, "runs/d", type=tarfile.CHRTYPE),
    "pipe": lambda a: add(a, "runs/p", type=tarfile.FIFOTYPE),
    "twice": lambda a: add(a, "runs/a.json", b"other"),
    "a file as folder": lambda a: add(a, "runs/a.json/b", b"x"),
    "long header": lambda a: add(a, "runs/b", pax_headers={"comment": "x" * 200_000}),
    "sparse": lambda a: add(
        a, "runs/s", b"1\n0\n1\n",
        pax_headers={"GNU.sparse.major": "1", "GNU.sparse.minor": "0",
                     "GNU.sparse.name": "runs/s", "GNU.sparse.realsize": "99999999999"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_an_archive_that_would_harm_is_refused_and_leaves_nothing_outside(
    harm: Harm, tmp_path: Path
) -> None:
    file = archive_of(tmp_path / "bad.tar.zst", harm)
    with pytest.raises(BadFile):
        unpack(file, tmp_path / "here")
    assert {path.name for path in tmp_path.iterdir()} == {"bad.tar.zst", "here"}
    assert not [path for path in tmp_path.rglob("*") if path.is_symlink()]
    assert not Path("/tmp/evil").exists()


def test_an_archive_that_grows_beyond_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.results.archive.UNPACKED_BYTES", 1_000_000)
    bomb = archive_of(tmp_path / "bomb.tar.zst", lambda a: add(a, "runs/b", bytes(50_000_000)))
    with pytest.raises(BadFile, match="more than a packed study of its size"):
        unpack(bomb, tmp_path / "here")
    assert sum(path.stat().st_size for path in (tmp_path / "here").rglob("*")) < 1_100_000


@pytest.mark.slow
@given(st.data())
def test_damaged_bytes_are_refused_in_one_line(data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = archive_of(Path(folder) / "a.tar.zst", lambda a: add(a, "runs/b.json", b"{}" * 999))
        whole = file.read_bytes()
        cut = data.draw(st.integers(0, len(whole) - 1))
        junk = data.draw(st.binary(max_size=40))
        file.write_bytes(whole[:cut] + junk)
        try:
            unpack(file, Path(folder) / "here")
        except BadFile as error:
            assert "\n" not in str(error)


@pytest.mark.slow
def test_a_file_that_is_there_is_never_written_over(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = packed(study, capsys)
    before = file.read_bytes()
    code, _, err = run(capsys, "results", "pack", str(study), "-o", str(file))
    assert (code, file.read_bytes()) == (2, before)
    assert "does not exist yet" in " ".join(err.split())
    assert pack(study, study.parent / "b.tar.zst", Names.asked(study, kept=False)) > 10
    assert (study.parent / "b.tar.zst").read_bytes() == before
