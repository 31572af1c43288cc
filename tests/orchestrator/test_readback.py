"""Reading vLLM's log: the layout that really runs, the stage reached, and why it failed."""

import pytest

from orchestrator.engines.readback import layout_difference, observed, stage
from orchestrator.failures import classify
from strategies import ALL, parse_layout

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


def test_the_layout_the_cache_and_the_arguments_are_read_from_a_real_log() -> None:
    seen = observed(LOG)
    assert seen.layout == parse_layout("ep")
    assert seen.kv_tokens_capacity == 2 * 1_048_576
    assert seen.non_default_args == "{'model': 'm', 'data_parallel_size': 2}"


def test_a_layout_with_knobs_is_the_same_layout_without_them() -> None:
    assert layout_difference(parse_layout("ep[eplb=2]"), LOG) is None


@pytest.mark.parametrize("asked", [name for name in ALL if name != "ep"])
def test_any_other_layout_is_a_difference_that_names_both(asked: str) -> None:
    told = layout_difference(parse_layout(asked), LOG)
    assert told == f"asked for {asked}, the server runs ep"


def test_a_log_that_does_not_say_is_a_difference_too() -> None:
    assert layout_difference(parse_layout("tp"), "INFO nothing") is not None


def test_ranks_that_contradict_the_configuration_are_not_believed() -> None:
    assert observed(LOG.replace("[EP Rank 0/2]", "[EP Rank 0/4]")).layout is None
    assert observed(LOG.replace("in world size 2", "in world size 8")).layout is None


def test_the_stage_is_the_furthest_the_log_has_reached() -> None:
    assert stage("") == "starting"
    assert stage(LOG) == "warming up"
    assert stage("x is assigned as DP rank 0\nLoading safetensors checkpoint") == "loading weights"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "OOM_WEIGHTS"),
        ("ValueError: No available memory for the cache blocks. Try increasing", "OOM_KV"),
        (
            "ValueError: Free memory on device cuda:0 (3.1/79.2 GiB) on startup is less than",
            "GPU_NOT_CLEAN",
        ),
        ("api_server.py: error: unrecognized arguments: --nope", "SERVER_ARGS"),
        ("OSError: [Errno 98] Address already in use", "PORT_CONFLICT"),
        ("RuntimeError: CUDA error: invalid device ordinal", "DEVICE_MAP"),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error", "MODEL_FETCH"),
        (
            "No available shared memory broadcast block found in 60 seconds",  # informational
            "ENGINE_DEAD",
        ),
    ],
)
def test_known_failures_get_their_class_and_advice(line: str, code: str) -> None:
    found, advice = classify(f"INFO before\n{line}\nINFO after", "ENGINE_DEAD")
    assert found == code
    assert advice
