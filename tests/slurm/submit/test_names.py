"""Hostile values on their way to Slurm: refused, or the text they are; never executed."""

import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from catalog.errors import BadFile, BadValue, InputError, UnknownName
from orchestrator.experiment.experiment import Experiment
from slurm.submit.arrays import (
    ArrayRequest,
    array_arguments,
    program,
    resource_arguments,
)
from slurm.submit.job_script import JOB_SCRIPT
from slurm.submit.names import MANAGED, check_free_option
from slurm.submit.options import SubmitOptions, merge_options
from slurm.submit.site_profile import site_options

PROFILES = Path(__file__).parents[3] / "examples" / "slurm"
PARTS = ("$(touch PWNED)", "`touch PWNED`", "; touch PWNED", "| touch PWNED", "&& touch PWNED",
         "\n#SBATCH --wrap=touch PWNED", "\ntouch PWNED\n", "'", '"', "\\", "../", "../../etc/x",
         "%x", "%j", "\x00", "\x1b[2J", "--wrap=touch PWNED", "-p", " ", "é", "\u202e", "a100",
         "gpu", "0", ",", "*", "?", "~", "${IFS}", ">PWNED", "<", "=", "{{7*7}}",
         "A" * 70)  # fmt: skip
FIELDS = ("partition", "account", "qos", "reservation", "constraint", "gpu_type", "memory", "time",
          "python", "scratch")  # fmt: skip
MEANT = {"--partition", "--account", "--qos", "--reservation", "--constraint", "--mem", "--nodes",
         "--ntasks", "--gres"}  # fmt: skip


def hostile(rng: random.Random) -> str:
    return "".join(rng.choice(PARTS) for _ in range(rng.randint(1, 4)))


@pytest.mark.slow
def test_10000_hostile_values_reach_slurm_as_nothing_but_the_options_they_are_meant_for() -> None:
    rng, taken = random.Random(1), 0
    for _ in range(10_000):
        field, text = rng.choice(FIELDS), hostile(rng)
        try:
            options = merge_options({field: text})
        except InputError:
            continue
        taken += 1
        words = resource_arguments(ArrayRequest(2, "A100-80GB"), options)
        assert {word.partition("=")[0] for word in words} <= MEANT
        assert all(word.isprintable() for word in words)
        root = Path("/shared/results")
        arguments = array_arguments(
            count=3, name="n", token="t", root=root, options=options, lead_s=9
        )
        assert "--output=slurm/t/logs/%A_%a.log" in arguments
        assert arguments[0] == "--job-name=n"
        assert program("python3", root, options, ["x"])[0] == str(JOB_SCRIPT)
    assert 0 < taken < 9_000


def test_the_script_runs_hostile_arguments_as_text(tmp_path: Path) -> None:
    rng = random.Random(2)
    texts = [text for _ in range(1000) if "\x00" not in (text := hostile(rng))]
    echo = [sys.executable, "-c", "import sys; sys.stdout.write('\\0'.join(sys.argv[1:]))"]
    done = subprocess.run(
        ["bash", str(JOB_SCRIPT), *echo, *texts], cwd=tmp_path, capture_output=True, check=True
    )
    assert done.stdout.decode() == "\0".join(texts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", sorted(MANAGED))
def test_an_option_that_publication_relies_on_cannot_be_overridden(name: str) -> None:
    for text in (f"--{name}", f"--{name}=x", f"--{name[:-1]}=x"):
        with pytest.raises(BadValue):
            check_free_option(text)


@pytest.mark.parametrize("text", ["", "-p x", "partition", "--x=a\nb", "--X", "--x y=\x00"])
def test_what_is_no_option_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        check_free_option(text)


def test_a_variable_that_looks_like_a_secret_is_not_exported() -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "OPENAI_API_KEY"):
        with pytest.raises(BadFile, match="no secrets"):
            merge_options({"export": [name]})
    assert merge_options({"export": ["NCCL_IB_HCA"]}).export == ("NCCL_IB_HCA",)


@pytest.mark.parametrize("folder", ["a%j", "a\nb", "a\\b", "\x1b[2J"])
def test_a_results_directory_that_slurm_would_read_otherwise_is_refused(folder: str) -> None:
    with pytest.raises(BadValue):
        array_arguments(
            count=1,
            name="n",
            token="t",
            root=Path("/x") / folder,
            options=SubmitOptions(),
            lead_s=0,
        )


def test_an_unknown_option_is_an_error_that_lists_the_known_ones() -> None:
    known = r"partitoin.*mean partition\? Fields: partition, account.*sbatch: \[--OPTION=VALUE"
    with pytest.raises(BadFile, match=known):
        merge_options(Experiment(slurm={"partitoin": "gpu"}).slurm)
    with pytest.raises(BadFile, match=r"follow_up: unknown field `acount`. Did you mean account"):
        merge_options({"follow_up": {"acount": "x"}})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("account: 0123", "account: expected "),
        ("qos: yes", "qos: expected "),
        ("gpu_request: gpus", "'gpus'.*gpu_request|gpu_request: got 'gpus', allowed: gres"),
        ("memory: 64GB", "a size such as 64G; 0 is all that a node has"),
        ("python: $NOT_SET_HERE/bin/python", "python: got .* an absolute path"),
        ("python: venv/bin/python", "python: got .* an absolute path"),
    ],
)
def test_what_a_profile_cannot_mean_is_told_with_what_it_can(written: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        merge_options(yaml.safe_load(written))


def test_a_profile_is_taken_as_sites_and_slurm_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    options = merge_options(
        {"account": "abc@h100", "memory": 0, "reservation": "r1,r2", "scratch": "~/x/$SLURM_JOB_ID",
         "python": "~/v/bin/python", "setup": "module load cuda", "export": "NCCL_DEBUG"},
        {"python": "$HOME/w/bin/python", "sbatch": "--exclude=n7"},
    )  # fmt: skip
    assert (options.account, options.memory, options.reservation) == ("abc@h100", "0", "r1,r2")
    assert options.python == "/home/ann/w/bin/python"
    assert options.scratch == "/home/ann/x/$SLURM_JOB_ID"
    assert (options.setup, options.export) == (("module load cuda",), ("NCCL_DEBUG",))
    assert options.sbatch == ("--exclude=n7",)
    assert merge_options({"memory": "64g"}).memory == "64g"
    assert SubmitOptions(python="venv/bin/python").python, "what was submitted stays readable"


def test_flags_go_over_the_experiment_and_that_over_the_site(tmp_path: Path) -> None:
    path = tmp_path / "slurm.yaml"
    clusters = {"a": {"partition": "gpu", "account": "x", "sbatch": ["--nice=1"]}, "b": {}}
    path.write_text(yaml.safe_dump({"default": "a", "clusters": clusters}))
    site = site_options(path, cluster=None, found="fake")
    options = merge_options(site, {"account": "y"}, {"account": "z", "sbatch": ["--exclude=n7"]})
    assert (options.partition, options.account) == ("gpu", "z")
    assert options.sbatch == ("--nice=1", "--exclude=n7")
    assert site_options(path, cluster=None, found="b") == {}
    with pytest.raises(UnknownName, match="unknown cluster 'c'"):
        site_options(path, cluster="c", found="")
    path.write_text(yaml.safe_dump({"clusters": clusters}))
    with pytest.raises(BadFile, match=r"which of its clusters this is \(fake\): --cluster .* a, b"):
        site_options(path, cluster=None, found="fake")
    path.write_text("clusters: [1")
    with pytest.raises(BadFile, match="is not YAML"):
        site_options(path, cluster=None, found="")


@pytest.mark.parametrize("path", sorted(PROFILES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_profile_is_one(path: Path) -> None:
    for cluster in yaml.safe_load(path.read_text())["clusters"]:
        options = merge_options(site_options(path, cluster=cluster, found=""))
        assert msgspec.to_builtins(options)


def test_an_image_that_holds_moeserve_gets_the_results_directory_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "none"))
    root = Path("/shared/out")
    boxed = merge_options(
        {
            "container": {
                "kind": "pyxis",
                "image": "a.sqsh",
                "mounts": ["/models"],
                "python": "py",
            },
            "scratch": "$TMPDIR",
        }
    )
    assert program("python3", root, boxed, ["-m", "x"])[1:] == [
        "srun", "--ntasks=1", "--container-image=a.sqsh",
        "--container-mounts=/shared/out:/shared/out,/models:/models",
        "--container-workdir=/shared/out", "--no-container-entrypoint", "py", "-m", "x",
    ]  # fmt: skip
    boxed = merge_options({"container": {"kind": "apptainer", "image": "a.sif", "python": "py"}})
    assert program("python3", root, boxed, ["-m", "x"])[1:] == [
        "apptainer", "exec", "--nv", "--bind", "/shared/out:/shared/out", "--bind", "/tmp:/tmp",
        "--pwd", "/shared/out", "a.sif", "py", "-m", "x",
    ]  # fmt: skip


@pytest.mark.slow
def test_without_slurm_each_command_says_so_in_one_line_and_exits_3(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path)}
    for words in (["submit", "-o", "x"], ["status", "."], ["collect", "."], ["cancel", "."]):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "moeserve", "slurm", *words],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 3
        assert done.stderr.count("\n") == 1
        assert "no Slurm here" in done.stderr
    assert list(tmp_path.iterdir()) == []
