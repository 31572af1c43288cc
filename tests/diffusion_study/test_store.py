"""Kept answers: none twice, none lost, the same when continued, and another study refused."""

import itertools
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from catalog.errors import ChangedExperiment, ResultsError
from catalog.model_table import MODELS
from diffusion_study.grid import DiffusionGrid, points
from diffusion_study.measure import Generation, gathered, measure, runs
from diffusion_study.store import DiffusionStore, DiffusionStudy, answers_of
from orchestrator.experiment.experiment import Experiment
from orchestrator.results.store import Store
from servers.huggingface.diffusion.decoder import DiffusionDecoder
from servers.huggingface.diffusion.options import DiffusionOptions

MODEL = MODELS["tiny-llada-moe"]
GRID = DiffusionGrid(
    points=points((2, 4), (8,)), experts=("loop", "grouped"), block_length=8, prompt_length=4
)
STUDY = DiffusionStudy(
    models=(MODEL.name,),
    points=("given 2:8", "given 4:8"),
    experts=("loop", "grouped"),
    kv_caches=("none",),
    commit_above=(None,),
    block_length=8,
    prompt_length=4,
    num_runs=3,
    seed=0,
    dtype="auto",
    trust_remote_code=False,
    revision=None,
    device="CPU",
    cpu="a processor",
    cpus=2,
    threads=1,
    torch="2",
    transformers="5",
)
RUNS = runs(GRID, MODEL)
ANSWER = Generation((3, 1, 2), (0.5, 0.25), 7)


def test_what_is_published_is_read_again_and_nothing_else_counts_as_finished(
    tmp_path: Path,
) -> None:
    store = DiffusionStore(tmp_path / "d", STUDY)
    assert store.records("m", RUNS) == {}
    with store.opened():
        store.publish("m", RUNS[5], ANSWER, "float32")
        (store.root / "answers" / f".{RUNS[4].round}.json.tmp").write_text("{")  # a crash's remains
    assert answers_of(store.records("m", RUNS)) == {RUNS[5]: ANSWER}
    assert store.records("another", RUNS) == {}


def test_each_run_has_a_file_of_its_own(tmp_path: Path) -> None:
    store = DiffusionStore(tmp_path, STUDY)
    with store.opened():
        for run in RUNS:
            store.publish("m", run, ANSWER, "float32")
    assert len(list((tmp_path / "answers").iterdir())) == len(RUNS) == 12
    assert list(store.records("m", RUNS)) == list(RUNS)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"points": ("given 2:8",)}, "points was ('given 2:8', 'given 4:8')"),
        ({"models": ("b",)}, "now ('b',)"),
        ({"cpu": "another"}, "cpu was 'a processor', now 'another'"),
        ({"num_runs": 2}, "num_runs was 3, now 2"),
    ],
)
def test_another_grid_model_or_machine_is_refused_with_the_difference(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    with DiffusionStore(tmp_path, STUDY).opened():
        pass
    with (
        pytest.raises(ChangedExperiment, match="--fresh") as refused,
        DiffusionStore(tmp_path, msgspec.structs.replace(STUDY, **change)).opened(),
    ):
        pass
    assert told in str(refused.value)


def test_more_rounds_of_the_same_study_go_on_in_its_directory(tmp_path: Path) -> None:
    more = msgspec.structs.replace(STUDY, num_runs=5)
    assert more.default_directory == STUDY.default_directory
    for study in (STUDY, more):
        with DiffusionStore(tmp_path, study).opened():
            pass
    assert b'"num_runs": 5' in (tmp_path / "diffusion.json").read_bytes()


def test_a_directory_of_served_runs_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "experiment.json").write_text("{}")
    with (
        pytest.raises(ChangedExperiment, match="moeserve run"),
        DiffusionStore(tmp_path, STUDY).opened(),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.json"]


def test_runs_of_a_server_are_refused_where_answers_are_kept(tmp_path: Path) -> None:
    with DiffusionStore(tmp_path, STUDY).opened():
        pass
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ChangedExperiment, match="a study of moeserve diffusion"):
        Store(tmp_path).create(Experiment())
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_answer_is_named(tmp_path: Path) -> None:
    store = DiffusionStore(tmp_path, STUDY)
    with store.opened():
        store.publish("m", RUNS[0], ANSWER, "float32")
    (path,) = (tmp_path / "answers").iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ResultsError, match=f"{path.name}.*moved away"):
        store.records("m", RUNS)


def test_an_answer_of_another_run_or_without_a_pass_counts_for_none(tmp_path: Path) -> None:
    store = DiffusionStore(tmp_path, STUDY)
    with store.opened():
        store.publish("m", RUNS[0], ANSWER, "float32")
        (first,) = (tmp_path / "answers").iterdir()
        store.publish("m", RUNS[1], Generation((), (), 7), "float32")
    with pytest.raises(ResultsError, match="no forward pass"):
        store.records("m", RUNS[1:])
    (second,) = {*(tmp_path / "answers").iterdir()} - {first}
    second.write_bytes(first.read_bytes())
    with pytest.raises(ResultsError, match="of another run"):
        store.records("m", RUNS[1:])


@pytest.mark.slow
@pytest.mark.parametrize("done", [1, 5, 11])
def test_a_study_interrupted_anywhere_goes_on_as_if_it_had_not_been(
    decoder: Callable[..., DiffusionDecoder], done: int
) -> None:
    model = decoder(MODEL.name, DiffusionOptions(steps=2, block_length=8), layers=1)
    everything = frozenset(RUNS)
    whole = dict(measure(model, MODEL, GRID, seed=0, missing=everything))
    before = dict(itertools.islice(measure(model, MODEL, GRID, seed=0, missing=everything), done))
    rest = dict(measure(model, MODEL, GRID, seed=0, missing=everything - before.keys()))
    assert len(before) == done
    assert not before.keys() & rest.keys(), "nothing is measured twice"
    both = {**before, **rest}
    assert list(both) == list(whole), "in the same order"
    told = {run: (answer.tokens, answer.operations) for run, answer in whole.items()}
    assert {run: (answer.tokens, answer.operations) for run, answer in both.items()} == told


def test_a_case_is_compared_only_in_rounds_that_have_the_plain_decoder() -> None:
    plain, other = RUNS[0], RUNS[1]
    assert (plain.case.options.experts, other.case.options.experts) == ("loop", "grouped")
    changed = Generation((3, 1, 9), (1.0,), 7)
    first, second = gathered(GRID, MODEL, {plain: ANSWER, other: changed})
    assert (first.agreements, second.agreements) == ([1.0], [pytest.approx(2 / 3)])
    assert first.latencies_s == [0.75]
    (alone,) = gathered(GRID, MODEL, {other: changed})
    assert alone.agreements == []
