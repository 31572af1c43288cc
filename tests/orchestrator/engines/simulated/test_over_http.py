"""What an argument does in virtual time it does to the server behind HTTP."""

import sys
from pathlib import Path

import msgspec
import pytest

from orchestrator.experiment.experiment import Experiment, ServerOptions
from orchestrator.study import prepare, run_study
from orchestrator.table import run_rows

WITHIN = 0.15  # the client and a busy machine are in the server's figures, not in the model's


@pytest.mark.slow
@pytest.mark.parametrize("args", ["", "--max-num-seqs=2", "--max_num_batched_tokens 128"])
async def test_virtual_time_and_http_agree_on_what_an_argument_does(
    tmp_path: Path, args: str
) -> None:
    virtual = Experiment(
        models=("OLMoE-1B-7B",),
        engine="simulated",
        strategies=("ep",),
        hardware="A100-80GB",
        workloads=("128:48:16",),
        concurrency="8",
        server=ServerOptions(args=tuple(args.split())),
    )
    command = (sys.executable, "-m", "servers.simulated")
    over_http = msgspec.structs.replace(
        virtual,
        engine="vllm",
        hardware=None,
        server=ServerOptions(command=command, args=("--hardware=A100-80GB", *args.split())),
    )
    rows = []
    for name, asked in (("virtual", virtual), ("http", over_http)):
        await run_study(await prepare(asked), tmp_path / name, listen=lambda _: None)
        rows += run_rows(tmp_path / name)
    in_virtual_time, by_the_clock = rows
    assert by_the_clock["provenance"] == "simulated"
    for figure in ("output_throughput", "mean_tpot_ms"):
        expected = in_virtual_time[figure]
        assert by_the_clock[figure] == pytest.approx(expected, rel=WITHIN), figure
    # An answer's way to the client and the next request's way back may cost it one step: of the
    # requests that ended together one comes before the others, and they wait for its prompt's.
    late_ms = by_the_clock["mean_ttft_ms"] - in_virtual_time["mean_ttft_ms"]
    assert -1.2 * in_virtual_time["mean_tpot_ms"] < late_ms < in_virtual_time["mean_ttft_ms"]
