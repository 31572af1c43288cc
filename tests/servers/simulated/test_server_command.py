"""The simulated server takes vLLM's arguments where they have a price, and builds what is asked."""

import shlex

import pytest

from catalog.from_hf import load_model
from servers.simulated.__main__ import build, main
from servers.simulated.command import arguments, layout_of
from strategies import parse_layout
from strategies.vllm_args import vllm_args

# What moeserve tells every vLLM server, here and on several nodes.
ACCOMPANYING = """--model OLMoE-1B-7B --served-model-name m --host 127.0.0.1 --port 1
    --generation-config vllm --load-format dummy --enforce-eager --api-server-count 1
    --no-enable-prefix-caching --data-parallel-size-local 1 --data-parallel-address h
    --data-parallel-rpc-port 2 --data-parallel-start-rank 1 --headless --nnodes 2 --node-rank 1
    --master-addr h --master-port 3"""


def test_what_moeserve_tells_every_vllm_server_is_understood() -> None:
    known = arguments(shlex.split(ACCOMPANYING))
    assert (known.model, known.served_model_name, known.headless) == ("OLMoE-1B-7B", "m", True)


@pytest.mark.parametrize(
    "name", ["single", "tp", "ep", "pp2+tp2", "dp16+ep[all2all=deepep_low_latency]", "tp4[dcp=1]"]
)
def test_a_layout_comes_back_from_vllms_arguments(name: str) -> None:
    layout = parse_layout(name)
    known = arguments(["--model", "OLMoE-1B-7B", *vllm_args(layout)])
    assert layout_of(known) == layout


@pytest.mark.parametrize(
    "line",
    [
        "--bogus=1",
        "--bogus 1",
        "--enable-dbo",
        "--enable-eplb --eplb-config {}",
        "--quantization fp8",
        "--max-num-seqs=0",
        "--max-model-len 8K",
        "--tensor-parallel-size two",
        "--enable-expert-parallel -dp 2 --all2all-backend deepep_low_latency",
        "--enable-expert-parallel -dp 2 --expert-placement-strategy round_robin",
        "--all2all-backend deepep_low_latency",
        "--fault nothing-known",
    ],
)
def test_what_has_no_price_ends_the_server_before_it_listens(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", "OLMoE-1B-7B", "--port", "1", *shlex.split(line)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("moeserve-simulated: error: ")
    assert told.count("\n") == 1


def test_prompts_are_computed_whole_unless_the_prefix_cache_is_asked_for() -> None:
    model = load_model("OLMoE-1B-7B")
    for words, on in (
        ([], False),
        (["--no-enable-prefix-caching"], False),
        (["--enable-prefix-caching", "--enable-return-routed-experts"], True),
    ):
        known = arguments(["OLMoE-1B-7B", *words])
        assert build(known, model, layout_of(known)).limits.prefix_caching == on


def test_arguments_reach_scheduler_and_memory() -> None:
    line = "--model OLMoE-1B-7B --max-num-seqs 4 --block_size=32 --kv-cache-dtype fp8"
    known = arguments(shlex.split(line))
    model = load_model("OLMoE-1B-7B")
    told = build(known, model, layout_of(known))
    plain = build(arguments(["OLMoE-1B-7B"]), model, layout_of(known))
    assert (told.limits.max_num_seqs, told.limits.block_tokens) == (4, 32)
    assert told.kv_tokens_capacity == pytest.approx(2 * plain.kv_tokens_capacity, 1e-3)
