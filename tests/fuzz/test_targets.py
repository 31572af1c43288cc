"""No damaged bytes end a reader otherwise than in one line; `python -m tests.fuzz` runs more."""

import os
import time
from pathlib import Path
from random import Random

import pytest

from moeserve.cli import main
from tests.fuzz.answers import SEEDS, pieces
from tests.fuzz.mutate import mutated
from tests.fuzz.targets import TARGETS

COUNTS = {
    "answers": 400, "metrics": 300, "logs": 300, "gguf": 500, "configs": 20, "imports": 60,
    "yaml": 12, "tables": 20,
}  # fmt: skip
CORPUS = Path(__file__).parent / "corpus"
LONGEST_S = 2.0


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes_are_read_or_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for number in range(COUNTS[name]):
        begin = time.process_time()
        TARGETS[name].once(Random(f"quick/{name}/{number}"), tmp_path)
        assert time.process_time() - begin < LONGEST_S


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_what_is_damaged_is_right_before(tmp_path: Path, name: str) -> None:
    """Seeds that no reader takes would be damage to what is refused at the first byte."""
    taken = 0
    for number, (content, end) in enumerate(TARGETS[name].seeds()[:6]):
        try:
            TARGETS[name].read(content, tmp_path / f"{number}{end}")
            taken += 1
        except ValueError:
            continue
    assert taken


@pytest.mark.parametrize("file", sorted(CORPUS.glob("import-*.json")), ids=lambda path: path.stem)
def test_each_hostile_result_is_one_line_or_a_row_and_nothing_half_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, file: Path
) -> None:
    good = tmp_path / "good.json"
    good.write_bytes(TARGETS["imports"].seeds()[5][0])
    into = tmp_path / "out"
    try:
        main(["import", str(good), str(file), "-o", str(into)])
    except SystemExit as ended:
        assert ended.code in (0, 2)
        if ended.code == 2:
            assert len(capsys.readouterr().err.strip().splitlines()) == 1
            assert not into.exists()
            return
    assert len(list((into / "runs").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ((CORPUS / "date.yaml").read_text(), "is not YAML"),
        ((CORPUS / "runs.yaml").read_text(), "from 1 to 10000"),
        ("num_runs: " + "9" * 5000, "is not YAML"),
        ("num_runs: 10000\nengine: simulated\n", "at most 100,000"),
        ("".join(f"k{i}: 1\n" for i in range(60_000)), "more than 10,000"),
        (f"seed: {2**200}\n", "a whole number from 0"),
        ("server: {start_timeout_s: .inf}\n", "seconds above 0, at most"),
        ("price_per_hour_usd: 1.0e+308\n", "a number from 0 to 1e+06"),
    ],
)
def test_a_hostile_experiment_is_one_line_in_time(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(text)
    with pytest.raises(SystemExit) as ended:
        main(["plan", str(path)])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert told in said[0]
    assert len(said[0]) < 1_000


def test_mutation_changes_nearly_every_input_and_pieces_lose_nothing() -> None:
    rng = Random(0)
    assert sum(mutated(rng, SEEDS[0]) != SEEDS[0] for _ in range(100)) > 90
    assert all(b"".join(pieces(rng, SEEDS[0])) == SEEDS[0] for _ in range(50))
