"""Canaries: a secret given in any way is in nothing that is written; hostile names stay names."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from catalog.errors import InputError, MoeserveError
from catalog.secrets import redact
from moeserve.cli import main
from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.plan import make_plan
from orchestrator.study import prepare, run_study

CANARY = "canary-7f3a9c1e5b"
HF = "hf_" + "Q" * 34
HOSTILE = (
    "../../../tmp/escaped",
    "/etc/passwd",
    "a/b",
    "x\n touch PWNED #",
    "$(touch PWNED)",
    "`touch PWNED`",
    "; touch PWNED",
    "<script>alert(1)</script>",
    "=cmd|'/c calc'!A1",
    "\x1b[2J",
    "a\0b",
    ".",
    "..",
    "CON",
    "-rf",
    "name with spaces",
    "ünïcödé",
    "a" * 500,
)


TEMPLATES = ("{}", "{}x", "a/{}", "{}/../{}", "{}\\n{}", "mixtral{}", "tp,{}", "{}:{}", "'{}'{}")


def five_hundred() -> Iterator[str]:
    """Hostile names joined with each other and with what is allowed; the same ones each time."""
    rng = np.random.default_rng(0)
    seen: set[str] = set()
    while len(seen) < 500:
        template = TEMPLATES[rng.integers(len(TEMPLATES))]
        name = template.format(*rng.choice(HOSTILE, 2))
        if name not in seen and len(name) < 2000:
            seen.add(name)
            yield name


def written(root: Path) -> str:
    return "".join(
        path.read_bytes().decode(errors="replace") for path in root.rglob("*") if path.is_file()
    )


async def test_a_key_of_a_running_server_is_in_no_file_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    key.write_text(CANARY)
    monkeypatch.setenv("MOESERVE_API_KEY", CANARY)
    monkeypatch.setenv("HF_TOKEN", HF)
    # A server that prints its whole environment and fails: its log's tail is kept.
    program = "import os, sys; print(dict(os.environ)); sys.exit(3)"
    experiment = Experiment(
        engine="vllm",
        strategies=("single",),
        workloads=("16:4:2",),
        concurrency="1",
        api_key_file=str(key),
        retries=0,
        server=ServerOptions(command=(sys.executable, "-c", program)),
    )
    root = tmp_path / "out"
    await run_study(await prepare(experiment), root, listen=lambda _: None)
    (log,) = root.rglob("server.log")
    assert CANARY in log.read_text(), "the server itself may print what it likes"
    log.unlink()
    assert CANARY not in written(root)
    assert HF not in written(root)


@pytest.mark.parametrize(
    "options",
    [
        {"args": ("--api-key", "x")},
        {"args": ("--api-key=x",)},
        {"args": (HF,)},
        {"env": {"HF_TOKEN": "x"}},
        {"env": {"AWS_SECRET_ACCESS_KEY": "x"}},
        {"env": {"PLAIN": HF}},
        {"env": {"URL": "https://user:password1@host/"}},
    ],
)
def test_a_secret_where_it_would_be_recorded_is_refused_with_the_way_out(
    options: dict[str, object],
) -> None:
    with pytest.raises(InputError, match="inherits the environment") as caught:
        ServerOptions(**options)  # type: ignore[arg-type]
    assert HF not in str(caught.value)


def test_a_variable_that_only_sounds_like_a_secret_is_let_through() -> None:
    given = {"TOKENIZERS_PARALLELISM": "false", "VLLM_MAX_TOKENS_HINT": "8"}
    assert ServerOptions(env=given).env == given


def test_masking_knows_patterns_and_the_secrets_of_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", CANARY)
    text = f"{CANARY} {HF} Bearer abcdefghijklmnopqrst http://u:pw@h/ plain"
    masked = redact(text)
    assert CANARY not in masked
    assert "QQQ" not in masked
    assert "abcdefghij" not in masked
    assert "pw@" not in masked
    assert masked.endswith("plain")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_or_stays_inside_the_results(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for flag in ("--model", "--strategy", "--workload", "--hardware", "--engine"):
        with pytest.raises((SystemExit, MoeserveError, ValueError)) as ended:
            main(["run", "--engine", "simulated", f"{flag}={name}", "-c", "1"])
        if isinstance(ended.value, SystemExit):
            assert ended.value.code not in (0, 1), (flag, name)
        told = capsys.readouterr().err
        assert "\x1b" not in told
        assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_five_hundred_hostile_names_leave_nothing_anywhere_and_run_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "study.yaml"
    fields = ("models", "strategies", "techniques", "workloads", "hardware", "engine", "launcher")
    for number, name in enumerate(five_hundred()):
        field = fields[number % len(fields)]
        file.write_text(json.dumps({"engine": "simulated", field: name}))
        with pytest.raises(SystemExit) as ended:
            main(["run", str(file), "-c", "1"])
        assert ended.value.code in (2, 4), (field, name)
        told = capsys.readouterr()
        assert told.out == ""
        assert "Traceback" not in told.err
        assert told.err.isprintable() or set(told.err) <= {*filter(str.isprintable, told.err), "\n"}
    assert list(tmp_path.iterdir()) == [file]


def test_a_served_name_that_is_a_path_or_a_command_makes_a_plain_folder() -> None:
    experiment = Experiment(endpoint="http://127.0.0.1:1", workloads=("1:1:1",), concurrency="1")
    for name in (*HOSTILE, *five_hundred()):
        (group,) = make_plan(experiment, "endpoint", served=name).groups
        assert group.group_id
        assert Path(group.group_id).name == group.group_id
        assert len(group.group_id) < 200
        assert group.group_id.isprintable()
        assert not group.group_id.startswith((".", "-"))
        assert not set(group.group_id) & set(" $`;<>|&\n'\"/\\")
