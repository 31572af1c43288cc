"""What a log says around a failure: above it, below it, before its lines, and in which start."""

import pytest

from orchestrator.engines.vllm.readback import observed
from orchestrator.measure.failures import Failure, diagnose
from orchestrator.measure.server_log import clean, stage
from tests import server_logs

READY = "INFO:     Application startup complete.\n"


def found(log: str) -> Failure:
    failure = diagnose(log)
    assert failure is not None
    return failure


LLAMA_LOADS = "load_tensors: loading model tensors, this can take a while... (mmap = true)\n"
LLAMA_FULL = (
    "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 8900.01 MiB on device 0: cudaMalloc "
    "failed: out of memory\nggml_gallocr_reserve_n: failed to allocate CUDA0 buffer of size 9332\n"
)


def test_advice_for_llama_cpp_names_its_own_flags() -> None:
    log = LLAMA_LOADS + LLAMA_FULL + "llama_init_from_model: failed to allocate compute buffers\n"
    assert "--ubatch-size" in found(log).advice
    assert "--max-num-batched-tokens" not in found(log).advice


@pytest.mark.parametrize(
    ("log", "code"),
    [
        (LLAMA_FULL + "llama_model_load: error loading model: unable to allocate CUDA0 buffer",
         "OOM_WEIGHTS"),
        (LLAMA_FULL + "llama_init_from_model: failed to allocate buffer for kv cache", "OOM_KV"),
        (LLAMA_FULL + "llama_new_context_with_model: failed to allocate compute buffers",
         "OOM_ACTIVATIONS"),
        ("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 4379\n"
         "llama_model_load: error loading model: unable to allocate CPU buffer", "HOST_MEMORY"),
        ("ggml_vulkan: vk::Device::allocateMemory: ErrorOutOfDeviceMemory\n"
         "llama_model_load: error loading model: unable to allocate Vulkan0 buffer", "OOM_WEIGHTS"),
    ],
)  # fmt: skip
def test_llama_cpp_tells_below_what_it_had_no_memory_for(log: str, code: str) -> None:
    assert found(LLAMA_LOADS + log + "\nmain: exiting due to model loading error\n").code == code


def test_the_last_of_several_starts_of_llama_cpp_counts() -> None:
    build = "build: 7972 (e06088da0) with cc\n"
    ran = build + LLAMA_LOADS + "main: server is listening on http://127.0.0.1:8080\n"
    refused = "error: invalid argument: --no-such-flag\n"
    assert found(ran + build + refused).code == "SERVER_ARGS"
    assert diagnose(ran) is None


def test_a_start_that_begins_with_the_logo_of_vllm_begins_anew() -> None:
    front = "(APIServer pid=1) INFO 06-19 15:35:00 [api_utils.py:339] "
    logo = f"{front}       █     █     █▄   ▄█\n{front} ▄▄ ▄█ █     █     █ ▀▄▀ █  version 0.23.0\n"
    heads = "ValueError: Total number of attention heads (40) must be divisible by tensor parallel "
    log = logo + READY + logo + f"(EngineCore pid=2) ERROR 06-19 [core.py:1] {heads}size (16).\n"
    assert found(log).code == "LAYOUT_INVALID"
    assert (stage(clean(log)), observed(log).version) == ("starting", "0.23.0")
    assert stage(clean(logo + READY)) == "ready"


NEW_LLAMA = (
    "0.00.6.4 I cmn  common_param: common_params_print_info: verbosity = 3\n"
    "0.00.584.569 W model has unused tensor blk.42.attn_norm.weight (size = 10240) -- ignoring\n"
)
LISTENS = "3.50.294.953 I srv  llama_server: listening on http://127.0.0.1:8080\n"


def test_the_newer_wording_of_llama_cpp_that_it_is_ready_is_read() -> None:
    assert stage(NEW_LLAMA) == "starting"
    assert stage(NEW_LLAMA + LISTENS) == "ready"
    router = "0.00.7.9 I srv  llama_server: router server is listening on http://127.0.0.1:53155\n"
    assert stage(NEW_LLAMA + router) == "starting"
    assert diagnose(NEW_LLAMA + "0.01.2.3 E error loading model: x\n" + LISTENS) is None
    taken = "0.05.1.2 E Couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 8011\n"
    assert found(NEW_LLAMA + LISTENS + NEW_LLAMA + taken).code == "PORT_CONFLICT"
    assert stage(clean(NEW_LLAMA + LISTENS + NEW_LLAMA + taken)) == "starting"


def test_what_a_cpp_program_threw_is_passed_on() -> None:
    died = "terminate called after throwing an instance of 'x'\n  what():  no such tensor\n"
    for log in (died, NEW_LLAMA + LISTENS + died):
        failure = found(log)
        assert failure.code == "RANK_LOST"
        assert failure.advice.endswith("what():  no such tensor")


def test_a_warning_behind_the_prefix_of_a_process_is_no_cause() -> None:
    harmless = (
        "[rank0]:[W1009 21:00:00.1 TCPStore.cpp:125] [c10d] recvValue timed out, TCPStore failed\n"
        "(EngineCore pid=3) [W1009 21:00:00.1 socket.cpp:2] [c10d] The client socket has failed\n"
        "0.01.300.124 W common_fit: failed to allocate CUDA0 buffer of size 9332\n"
        "[2025-12-12 15:10:48,697 W 1 1] global_state_accessor.cc:429: GCS unavailable\n"
        "libibverbs: Warning: couldn't load driver: libmlx5.so: cannot open shared object file\n"
        "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected\n"
        "(Worker pid=8) ERROR 10-09 10:00:00 [triton_moe.py:34] Failed to import Triton kernels. "
        "Error: cannot import name 'routing' from 'triton_kernels.routing'\n"
        "node-a:1:2 [0] nvls.cc:254 NCCL WARN Cuda failure 1 'invalid argument', falling back\n"
    )
    assert diagnose(harmless) is None


@pytest.mark.parametrize(
    "prefix",
    [
        "[2026-08-21T19:42:40Z] (EngineCore pid=522) ",
        "[2025-09-13 09:09:15 TP0] ",
        "2026-06-09 14:01:54.604 [Info] (Process) (APIServer pid=42406) ",
        "2025-03-05 08:58:54 ",
        "2025-10-14T10:41:47.123456789+02:00 stderr F ",
    ],
)
def test_an_unknown_error_behind_a_time_of_the_log_is_passed_on(prefix: str) -> None:
    lines = ("Traceback (most recent call last):", '  File "x.py", line 1', "KeyError: 'new'")
    failure = found("".join(f"{prefix}{line}\n" for line in lines))
    assert failure.code == "START_FAILED"
    assert failure.advice.endswith(": KeyError: 'new'")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('vllm/config/speculative.py", line 9, in _verify', "SERVER_ARGS"),
        ('vllm/engine/arg_utils.py", line 9, in create_engine_config', "SERVER_ARGS"),
        ('vllm/lora/worker_manager.py", line 155, in _load_adapter', "SERVER_ARGS"),
        ('vllm/model_executor/models/moe.py", line 9, in load_weights', "BAD_WEIGHTS"),
        ('vllm/model_executor/layers/linear.py", line 1, in weight_loader_v2', "BAD_WEIGHTS"),
        ('modules/transformers_modules/moe/modeling_moe.py", line 3, in x', "MODEL_UNSUPPORTED"),
        ('transformers/models/auto/auto_factory.py", line 3, in x', "MODEL_UNSUPPORTED"),
        ('vllm/v1/worker/gpu_worker.py", line 3, in load_model', "START_FAILED"),
    ],
)
def test_an_error_of_unknown_words_is_classed_by_the_innermost_frame(frame: str, code: str) -> None:
    outer = '  File "/x/vllm/config/vllm.py", line 1, in y\n    z()\n'
    inner = f'  File "/x/{frame}\n    raise Something(\n    ^^^^^^^^^\n'
    failure = found(f"Traceback (most recent call last):\n{outer}{inner}TypeError: new words\n")
    assert failure.code == code
    assert "TypeError: new words" in failure.advice


def test_what_a_configuration_says_on_its_second_line_is_passed_on() -> None:
    refused = "pydantic_core.ValidationError: 1 validation error for VllmConfig\n  {} [type=x]\n"
    failure = found(refused.format("Value error, this and that exclude each other"))
    assert failure.code == "SERVER_ARGS"
    assert failure.advice.endswith(": this and that exclude each other")
    assert found(refused.format("Value error, Expecting value: line 1")).code == "BAD_WEIGHTS"


def test_of_an_assertion_without_words_what_it_asserts_is_passed_on() -> None:
    log = server_logs.START.format(
        "    assert self.budget is not None\n           ^^^^^^^^^^^^^^^^^^^^^^^\nAssertionError\n"
        "Exception: WorkerProc initialization failed due to an exception in a background process."
    )
    failure = found(log)
    assert failure.code == "START_FAILED"
    assert failure.advice.endswith(": AssertionError: assert self.budget is not None")


@pytest.mark.parametrize(
    "message",
    [
        "ValueError: The decoder prompt (length 20000) is longer than the maximum model length of",
        "httpx.ReadTimeout: The read operation timed out",
        "ConnectionRefusedError: [Errno 111] Connect call failed ('192.0.2.1', 4317)",
        "PermissionError: [Errno 13] Permission denied: '/data/x.png'",
        "ValueError: LoRA rank 64 is greater than max_lora_rank 16.",
        "OSError: [Errno 113] No route to host",
        "Aborted request cmpl-7",
        "ImportError: cannot import name 'x' from 'y'",
        "srv  send_error: task id = 0, error: the request exceeds the available context size",
    ],
)
def test_what_a_client_asks_of_a_ready_server_is_no_failure_of_it(message: str) -> None:
    begin = "ERROR 10-14 [serving.py:8] Traceback (most recent call last):\n"
    assert diagnose(f"{READY}{begin}ERROR 10-14 [serving.py:8] {message}\n") is None


def test_of_a_worker_that_broke_its_own_error_is_passed_on() -> None:
    worker = "(Worker_TP1 pid=1) ERROR 12-25 20:59:15 [multiproc_executor.py:824] "
    core = "(EngineCore_DP0 pid=2) ERROR 12-25 20:59:16 [core.py:866] "
    log = (
        f"{worker}WorkerProc hit an exception.\n{worker}Traceback (most recent call last):\n"
        f"{worker}    assert logits.size(-1) == 8\n{worker}AssertionError\n"
        f"{core}EngineCore encountered a fatal error.\n"
        f"{core}RuntimeError: Worker failed with error '', please check the stack trace above\n"
    )
    failure = found(READY + log)
    assert failure.code == "ENGINE_DEAD"
    assert failure.advice.endswith(": AssertionError: assert logits.size(-1) == 8")


def test_what_a_client_was_told_is_not_passed_on_as_why_the_server_died() -> None:
    client = "ERROR 10-14 [serving.py:8] ValueError: no such tool\n"
    died = (
        "ERROR 10-14 [core.py:1] EngineCore encountered a fatal error.\n"
        "ERROR 10-14 [core.py:1] KeyError: 'request-7'\n"
    )
    failure = found(READY + client + died)
    assert failure.code == "ENGINE_DEAD"
    assert failure.advice.endswith(": KeyError: 'request-7'")


@pytest.mark.parametrize(
    "prefix",
    ["", "12: ", "[pod/vllm-0/vllm] ", "[1,0]<stderr>: ", "2026-11-30T06:31:01+0000 node vllm[1]: ",
     '{"stream":"stderr","log":"'],
)  # fmt: skip
def test_arguments_that_are_refused_are_known_behind_any_collector_s_prefix(prefix: str) -> None:
    said = "vllm serve: error: argument --max-model-len: invalid int value: 'x'"
    assert found(f"{prefix}usage: vllm serve\n{prefix}{said}\n").code == "SERVER_ARGS"


@pytest.mark.parametrize("row", server_logs.table("ok"), ids=lambda row: row["file"])
def test_a_layout_is_read_from_the_labelled_output_of_srun(row: dict[str, str]) -> None:
    text = server_logs.text(row)
    labelled = "".join(f"12: {line}\n" for line in text.splitlines())
    assert observed(labelled).layout == observed(text).layout
