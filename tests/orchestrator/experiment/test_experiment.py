"""Experiments from files and flags: what is read, and what is refused with its place."""

from pathlib import Path

import msgspec
import pytest

from catalog.errors import BadFile, BadValue, InputError, UnknownName
from orchestrator.engines.registry import resolve
from orchestrator.experiment.experiment import Experiment, override, read_experiment


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(text)
    return path


def test_a_single_value_may_stand_where_a_list_is_meant(tmp_path: Path) -> None:
    path = write(tmp_path, "models: mixtral\nstrategies: tp\nrequest_rates: 2\n")
    read = read_experiment(path)
    assert (read.models, read.strategies, read.request_rates) == (("mixtral",), ("tp",), (2.0,))


def test_flags_override_the_file_and_leave_the_rest(tmp_path: Path) -> None:
    path = write(tmp_path, "seed: 7\nnum_runs: 3\nserver: {args: [--a], start_timeout_s: 5}\n")
    changed = override(read_experiment(path), {"num_runs": 5, "server.args": ("--b",)})
    assert (changed.seed, changed.num_runs) == (7, 5)
    assert (changed.server.args, changed.server.start_timeout_s) == (("--b",), 5)


def test_an_experiment_survives_its_own_json() -> None:
    experiment = Experiment(goodput={"ttft": 200.0}, request_rates=(2.0,), burstiness="constant")
    encoded = msgspec.json.encode(experiment)
    assert msgspec.json.decode(encoded, type=Experiment) == experiment


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("modles: [a]", "unknown field `modles`"),
        ("models: {a: 1}", "models: expected a list, got fields"),
        ("num_runs: many", "num_runs"),
        ("num_runs: 0", "from 1 to 10000"),
        ("server: {argz: []}", "argz"),
        ("seed: 1\nseed: 2", "'seed' stands twice"),
        ("a: &x [1]\nb: *x", "aliases"),
        ("models: [", "not YAML"),
        ("[1, 2]", "the file: expected fields (name: value), got a list"),
        ("a: !!python/object:os.system {}", "not YAML"),
        ("burstiness: 0", "burstiness"),
        ("request_rates: [.inf]", "above 0"),
        ("{" * 5000, "not YAML"),
    ],
)
def test_a_bad_file_says_what_and_where_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BadFile) as caught:
        read_experiment(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_name_of_an_engine_that_does_not_exist_gets_the_one_meant(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean simulated"):
        resolve(read_experiment(write(tmp_path, "engine: simulatd")))


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadFile):
        read_experiment(tmp_path / name)


def test_a_file_too_large_to_be_an_experiment_is_not_parsed(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="more than the 1000000 bytes"):
        read_experiment(write(tmp_path, "#" * 1_000_001))


@pytest.mark.parametrize(
    "changes",
    [{"num_prompts": 0}, {"client_workers": 0}, {"gpus": 0}, {"seed": -1}, {"launcher": "k8s"}],
)
def test_values_out_of_range_are_input_errors(changes: dict[str, object]) -> None:
    with pytest.raises((BadValue, InputError)):
        override(Experiment(), changes)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("concurrency: [1, 4, 8]", "concurrency", "1,4,8"),
        ("concurrency: [1, 8..32]", "concurrency", "1,8..32"),
        ("concurrency: 4", "concurrency", "4"),
        ("concurrency: 1,4,8", "concurrency", "1,4,8"),
        ("concurrency: 1..128", "concurrency", "1..128"),
        ("workloads: 32:32:16", "workloads", ("32:32:16",)),
        ("workloads: [128:128:100, balanced]", "workloads", ("128:128:100", "balanced")),
        ("request_rates: 0.5,2", "request_rates", (0.5, 2.0)),
        ("goodput: ttft:200 tpot:50", "goodput", {"ttft": 200.0, "tpot": 50.0}),
        ("goodput: ['ttft:200']", "goodput", {"ttft": 200.0}),
        ("goodput: {ttft: 200}", "goodput", {"ttft": 200.0}),
        ("strategies: tp,ep", "strategies", ("tp", "ep")),
    ],
)
def test_numbers_lists_and_plain_words_are_read_as_they_are_meant(
    tmp_path: Path, text: str, field: str, value: object
) -> None:
    assert getattr(read_experiment(write(tmp_path, text)), field) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: mixtral", "Did you mean models?"),
        ("strategy: tp", "Did you mean strategies?"),
        ("concurency: 4", "Did you mean concurrency?"),
        ("server: {arg: []}", "server: unknown field `arg`. Did you mean args?"),
        ("ray: {adress: x}", "ray: unknown field `adress`. Did you mean address?"),
        (
            "concurrency: true",
            "concurrency: expected text, got true or false, which is a text in quotes",
        ),
        ("server: {env: {A: 1}}", "expected text, got a whole number, which is a text in quotes"),
        ("burstiness: Poisson", "burstiness: got 'Poisson', allowed: a number, constant"),
        ("num_prompts: all", "num_prompts: got 'all', allowed: a whole number, auto"),
        ("goodput: {ttft: -200}", "goodput: got"),
        ("name: ../elsewhere", "name: got '../elsewhere', allowed: the name of a folder"),
        ("name: ''", "name: got ''"),
    ],
)
def test_a_slip_is_told_with_what_may_be_meant(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadFile) as caught:
        read_experiment(write(tmp_path, text))
    assert told in str(caught.value)
