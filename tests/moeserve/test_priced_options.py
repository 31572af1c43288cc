"""On the command line: what the simulation has no price for leaves with 2 and one line."""

import json
from pathlib import Path

import pytest

from moeserve.cli import main

RECOMMEND = "predict recommend -m mixtral --hardware H100 --gpus 4 -w 128:128:8 --concurrency 8"
COMMANDS = (
    "run --engine simulated -m mixtral -w 16:8:4 -c 2 --dry-run",
    "plan --engine simulated -m mixtral -w 16:8:4 -c 2",
    "estimate -m mixtral -w 16:8:4 -c 2",
    "serve --engine simulated -m mixtral",
)


def run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(line.split())
    except SystemExit as leave:
        code = int(leave.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("command", [*COMMANDS, RECOMMEND])
def test_a_knob_without_a_price_is_refused(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, err = run(capsys, f"{command} -s dp4+ep[dbo=on]")
    assert (code, out) == (2, "")
    assert err.startswith("moeserve: knob dbo: got 'dp4+ep[dbo=on]'")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--server-arg=--bogus=1", "'--bogus=1'"),
        ("--server-arg=--max_num_seq --server-arg=4", "Did you mean --max-num-seqs"),
    ],
)
def test_a_server_argument_without_a_price_is_refused(
    capsys: pytest.CaptureFixture[str], command: str, flag: str, told: str
) -> None:
    code, out, err = run(capsys, f"{command} -s tp {flag}")
    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS[:3])
def test_a_variable_of_the_server_is_refused(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, out, err = run(capsys, f"{command} -s tp --server-env X=1")
    assert (code, out) == (2, "")
    assert err.startswith("moeserve: --server-env: got 'X'")


@pytest.mark.slow
def test_run_and_estimate_honour_the_same_arguments(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    flags = "-m olmoe -s ep -w 64:16:32 -c 16 --format json"
    args = "--server-arg=--max-num-seqs=2 --server-arg --max_num_batched_tokens --server-arg 64"
    _, out, _ = run(capsys, f"estimate {flags} {args}")
    (estimated,) = json.loads(out)
    _, out, _ = run(capsys, f"estimate {flags} --max-num-seqs 2 --max-num-batched-tokens 64")
    assert json.loads(out) == [estimated]
    _, out, _ = run(capsys, f"run --engine simulated {flags} {args} -o {tmp_path} --quiet")
    (simulated,) = json.loads(out)
    assert simulated["output_throughput"] == estimated["output_throughput"]
    code, _, err = run(capsys, f"estimate {flags} {args} --max-num-seqs 4")
    assert (code, "one of the two" in err) == (2, True)


def test_estimates_of_several_techniques_name_each_in_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    flags = "-m OLMoE-1B-7B -s tp --hardware H100 -w 16:8:4 -c 1"
    heads = [run(capsys, f"estimate {flags} {t}")[1].splitlines()[1] for t in ("", "-t none,fp8")]
    assert ["technique" in head for head in heads] == [False, True]


def test_strategies_say_which_levels_and_arguments_are_priced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, _, err = run(capsys, "strategies")
    assert "placement: which experts a rank holds (linear, round_robin); priced in" in err
    assert "--gpu-memory-utilization" in err
