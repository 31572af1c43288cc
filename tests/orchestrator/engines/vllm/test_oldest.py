"""A vLLM that is missing or too old is said once, before anything is started."""

from pathlib import Path

import pytest

from catalog.errors import ServerStartFailed
from orchestrator.engines.vllm import kind
from orchestrator.engines.vllm.oldest import OLDEST, is_too_old
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.results.manifests import read_manifests
from orchestrator.study import prepare, run_study

STUDY = Experiment(
    models=("tiny-olmoe",), engine="vllm", hardware="CPU", workloads=("16:8:4",), concurrency="1,2"
)


@pytest.mark.parametrize(
    ("version", "old"),
    [
        ("0.8.5.post1", True), ("0.10.1.1+cu128", True), ("0.10.2", False), ("0.32.0+cpu", False),
        ("1.0", False), ("0.1.dev1234+g3b30e61", False), ("simulated", False), ("", False),
        (None, False), ("0.9", True), (OLDEST, False),
    ],
)  # fmt: skip
def test_versions_are_compared_as_numbers(version: str | None, old: bool) -> None:
    assert is_too_old(version) is old


async def test_without_vllm_a_study_ends_before_its_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = await prepare(STUDY)
    monkeypatch.setattr(kind, "base_command", lambda _: None)
    with pytest.raises(ServerStartFailed, match=r"^SERVER_MISSING: no vLLM here: .*-m pip install"):
        await run_study(study, tmp_path, listen=lambda _: None)
    assert list(read_manifests(tmp_path)) == []


async def test_with_an_old_vllm_it_ends_with_the_reason_and_the_doctor_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = await prepare(STUDY)
    monkeypatch.setattr(kind, "base_command", lambda _: ["vllm"])
    monkeypatch.setattr(kind, "version_of", lambda _: "0.9.1")
    with pytest.raises(
        ServerStartFailed, match=r"^SERVER_TOO_OLD: vLLM 0\.9\.1: 0\.10\.2 or later"
    ):
        await run_study(study, tmp_path, listen=lambda _: None)
    (row,) = kind.KIND.requirements()
    assert not row.ok
    assert "too old" in row.found
    assert OLDEST in row.fix


def test_a_command_of_the_users_own_is_allowed_and_asked_once_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kind, "version_of", lambda _: "0.9.1")
    kind.KIND.check_host(Experiment(engine="vllm", server=ServerOptions(command=("my-vllm",))))
