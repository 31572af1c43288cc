"""Reading vLLM's log: the layout that really runs, its cache, its weights, the stage reached."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.units import GIB
from orchestrator.engines.vllm.log_facts import arguments_told
from orchestrator.engines.vllm.readback import observed
from orchestrator.measure.server_log import stage
from strategies import parse_layout
from strategies.layout import Layout
from tests import server_logs

# Lines of vLLM 0.32 serving tiny-olmoe as dp2+ep on the CPU.
LOG = """
(APIServer pid=1) INFO [api_utils.py:286] non-default args: {'model': 'm', 'data_parallel_size': 2}
(EngineCore_DP0 pid=66) INFO [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: \
model='m', dtype=torch.float32, tensor_parallel_size=1, pipeline_parallel_size=1, \
data_parallel_size=2, decode_context_parallel_size=1
(Worker pid=17) INFO [parallel_state.py:2350] rank 0 in world size 2 is assigned as DP rank 0, \
PP rank 0, PCP rank 0, TP rank 0, ETP rank 0, EP rank 0, EPLB rank N/A
(Worker pid=20) INFO [parallel_state.py:2350] rank 1 in world size 2 is assigned as DP rank 1, \
PP rank 0, PCP rank 0, TP rank 0, ETP rank 0, EP rank 1, EPLB rank N/A
(Worker_DP0_EP0 pid=17) INFO [expert_map_manager.py:250] [EP Rank 0/2] Expert parallelism is \
enabled. Expert placement strategy: linear. Local/global number of experts: 32/64.
(EngineCore_DP1 pid=67) INFO [kv_cache_utils.py:2327] CPU KV cache size: 1,048,576 tokens, Maximum
(EngineCore_DP0 pid=66) INFO [kv_cache_utils.py:2327] CPU KV cache size: 1,048,576 tokens, Maximum
"""


def engine_line(version: str, layout: Layout, *, data: int | None) -> str:
    own = f", data_parallel_size={data}" if data is not None else ""
    return (
        f"INFO [core.py:1] Initializing a V1 LLM engine (v{version}) with config: model='m', "
        f"tensor_parallel_size={layout.tp}, pipeline_parallel_size={layout.pp}{own}, seed=0\n"
    )


@pytest.mark.parametrize("row", server_logs.table("ok"), ids=lambda row: row["file"])
def test_a_healthy_log_is_read_right_or_not_at_all(row: dict[str, str]) -> None:
    seen = observed(server_logs.text(row))
    unreadable = row["layout"].startswith("unreadable")
    assert (seen.layout.name if seen.layout else None) == (None if unreadable else row["layout"])
    tokens = int(row["kv_tokens_capacity"]) if row["kv_tokens_capacity"] else None
    assert seen.kv_tokens_capacity == tokens
    told = float(row["model_memory_gib"]) * GIB if row["model_memory_gib"] else None
    assert seen.model_memory_bytes == (told if told is None else pytest.approx(told))


@pytest.mark.parametrize("row", server_logs.table("ok"), ids=lambda row: row["file"])
def test_colours_and_a_containers_prefix_change_nothing(row: dict[str, str]) -> None:
    text = server_logs.text(row)
    coloured = "\n".join(f"\x1b[1;36m{line}\x1b[0;0m" for line in text.splitlines())
    prefixed = "\n".join(f"vllm-1  | {line}" for line in text.splitlines())
    assert observed(coloured).layout == observed(prefixed).layout == observed(text).layout


@pytest.mark.parametrize("width", [80, 121, 200])
def test_a_log_that_a_terminal_has_wrapped_is_read_the_same(width: int) -> None:
    def wrapped(line: str) -> str:
        return "\n".join(line[at : at + width] for at in range(0, len(line), width))

    log = "\n".join(map(wrapped, LOG.splitlines()))
    assert observed(log).layout == observed(LOG).layout
    assert observed(log).kv_tokens_capacity == observed(LOG).kv_tokens_capacity


def test_the_layout_the_cache_and_the_arguments_are_read_from_a_real_log() -> None:
    seen = observed(LOG)
    assert seen.layout == parse_layout("ep")
    assert seen.kv_tokens_capacity == 2 * 1_048_576
    assert seen.non_default_args == "{'model': 'm', 'data_parallel_size': 2}"
    assert seen.version == "0.32.0"


def test_ranks_that_contradict_the_configuration_are_not_believed() -> None:
    assert observed(LOG.replace("[EP Rank 0/2]", "[EP Rank 0/4]")).layout is None
    assert observed(LOG.replace("in world size 2", "in world size 8")).layout is None
    assert observed(LOG.replace("as DP rank 1", "as DP rank 2")).layout is None
    assert (
        observed(LOG.replace("'data_parallel_size': 2", "'data_parallel_size': 4")).layout is None
    )
    assert observed(LOG.replace("EngineCore_DP1", "EngineCore_DP5")).layout is None


def test_engines_of_different_servers_in_one_log_are_no_layout() -> None:
    other = engine_line("0.32.0", Layout(tp=8), data=1)
    assert observed(LOG + other).layout is None


@pytest.mark.parametrize(
    ("arguments", "ranks", "layout"),
    [
        ("{'data_parallel_size': 4}", "", "dp4"),
        ("{'tensor_parallel_size': 2}", "", "tp"),
        ("{'speculative_config': {'tensor_parallel_size': 8, 'data_parallel_size': 2}}", "", "tp"),
        ("{'data_parallel_size': 2, 'enable_expert_parallel': True}", ", EP rank N/A", "tp2+dp2"),
        ("{'data_parallel_size': 2, 'enable_expert_parallel': True}", ", EP rank 0", "tp+ep"),
    ],
)
def test_arguments_tell_what_engines_that_are_independent_do_not(
    arguments: str, ranks: str, layout: str
) -> None:
    wanted = parse_layout(layout)
    log = f"INFO non-default args: {arguments}\n" + engine_line("0.15.1", wanted, data=1)
    world = wanted.tp * wanted.pp
    log += f"rank 0 in world size {world} is assigned as DP rank 0, PP rank 0, TP rank 0{ranks}\n"
    assert observed(log).layout == wanted


def test_before_the_ranks_say_it_only_the_arguments_tell_of_expert_parallelism() -> None:
    line = engine_line("0.9.2", Layout(tp=4), data=None)
    rank = "rank 0 in world size 4 is assigned as DP rank 0, PP rank 0, TP rank 0\n"
    assert observed(line + rank + "Model loading took 1.0 GiB and 2 s").layout is None
    newer = line.replace("0.9.2", "0.10.2")
    assert observed(newer + rank + "Model loading took 1.0 GiB and 2 s").layout == Layout(tp=4)
    assert observed(newer + rank).layout is None  # its experts are not made yet


def test_ranks_that_all_speak_tell_the_degrees_without_a_configuration() -> None:
    ranks = "".join(
        f"rank {rank} in world size 4 is assigned as DP rank {rank // 2}, PP rank 0, "
        f"TP rank {rank % 2}, EP rank {rank}\n"
        for rank in range(4)
    )
    args = "non-default args: {'enable_expert_parallel': True}\n"
    assert observed(args + ranks).layout == parse_layout("tp+ep")
    assert observed(args + ranks.split("\n", 1)[1]).layout is None


@pytest.mark.parametrize(
    ("told", "data", "tokens"),
    [
        ("(EngineCore_DP0 pid=1) 10\n(EngineCore_DP1 pid=2) 12", 2, 22),
        ("(EngineCore_DP0 pid=1) 10\n(EngineCore_DP1 pid=2) 10", 4, 40),
        ("(EngineCore_DP0 pid=1) 10\n(EngineCore_DP1 pid=2) 12", 4, None),
        ("(EngineCore_0 pid=1) 10\n(EngineCore_0 pid=1) 9\n(EngineCore_1 pid=2) 10", 2, 19),
        ("10\n10\n10\n10", 2, 20),
        ("10\n12", 2, 22),
        ("10\n12\n11", 2, None),
        ("12\n10", 1, 10),
    ],
)
def test_capacity_is_each_engines_once_over_all_of_them(
    told: str, data: int, tokens: int | None
) -> None:
    log = f"non-default args: {{'data_parallel_size': {data}}}\n"
    log += engine_line("0.32.0", Layout(dp=data), data=data)
    for line in told.splitlines():
        prefix, _, number = line.rpartition(" ")
        log += f"{prefix} INFO [x.py:1] GPU KV cache size: {number} tokens\n"
    assert observed(log).kv_tokens_capacity == tokens


def test_a_cache_on_the_host_beside_the_gpus_is_not_counted() -> None:
    log = engine_line("0.32.0", Layout(), data=1)
    log += "INFO CPU KV cache size: 5,000 tokens\nINFO GPU KV cache size: 100 tokens\n"
    assert observed(log).kv_tokens_capacity == 100


def test_one_stage_speaks_for_no_other() -> None:
    rows = {row["file"]: row for row in server_logs.table("ok")}
    uneven = observed(server_logs.text(rows["ok/v2201_pp2_uneven.log"]))
    assert not uneven.weights_of_all
    assert observed(server_logs.text(rows["ok/v2002_tp2_int4.log"])).weights_of_all


def test_arguments_with_quotes_brackets_and_nested_settings_are_read_by_their_own_names() -> None:
    told = arguments_told(
        "INFO non-default args: {'chat_template': '{{ it\\'s } )', 'a': ['x', {'dp': 3}], "
        "'compilation_config': {'level': 3}, 'dp': 2, 'ep': True}\nINFO more: {'dp': 9}"
    )
    assert told is not None
    assert {name: told[name] for name in ("dp", "ep")} == {"dp": "2", "ep": "True"}
    assert arguments_told("INFO nothing") is None


@given(st.text(max_size=300), st.integers(0, len(LOG)))
def test_any_text_in_a_log_leaves_a_layout_or_none(noise: str, place: int) -> None:
    found = observed(LOG[:place] + noise + LOG[place:]).layout
    assert found is None or found.num_gpus >= 1


def test_the_stage_is_the_furthest_the_log_has_reached() -> None:
    assert stage("") == "starting"
    assert stage(LOG) == "warming up"
    assert stage(LOG + "Capturing CUDA graphs (decode): 3%") == "capturing graphs"
    assert stage("x is assigned as DP rank 0\nLoading safetensors checkpoint") == "loading weights"
