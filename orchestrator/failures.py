"""Why a server failed, from its log: a class, and what to do about it."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FailureClass:
    """One known way for a server to fail."""

    code: str
    pattern: re.Pattern[str]
    advice: str


def _row(code: str, pattern: str, advice: str) -> FailureClass:
    return FailureClass(code, re.compile(pattern), advice)


# Most telling first: an out-of-memory error is also an engine that died.
FAILURES = (
    _row("SERVER_ARGS",
         r"(?m)^\S*:? ?error: (?:unrecognized|argument|invalid|one of)|ValidationError",
         "the server refused its arguments: see --server-arg"),
    _row("GPU_NOT_CLEAN", r"Free memory on device \S+ \(.*\) on startup is less than",
         "something else holds GPU memory: see nvidia-smi"),
    _row("HOST_MEMORY", r"Available memory on node \S+ \(.*\) on startup\s+is less than",
         "something else holds the host's memory: ask for less with "
         "--server-arg=--gpu-memory-utilization=… or --server-env VLLM_CPU_KVCACHE_SPACE=…"),
    _row("OOM_KV", r"No available memory for the cache blocks|larger than the maximum number of "
         r"tokens that can be stored in KV cache|KV cache is needed, which is larger",
         "use more GPUs, or a smaller --server-arg=--max-model-len=…"),
    _row("OOM_GRAPH", r"(?s)Capturing CUDA graphs(?!.*Graph capturing finished).*OutOfMemory",
         "leave memory for the CUDA graphs: a smaller --server-arg=--gpu-memory-utilization=… or "
         "--max-num-seqs, or fewer sizes with --server-arg=--cudagraph-capture-sizes=…"),
    _row("GPU_FAULT", r"NVRM: Xid|uncorrectable (?:NVLink|ECC)|fallen off the bus|CUDA error: "
         r"(?:an illegal (?:memory access|instruction)|unspecified launch failure|misaligned)",
         "the GPU or its driver failed: see nvidia-smi -q and dmesg; another node may do"),
    _row("OOM_WEIGHTS", r"OutOfMemoryError|CUDA out of memory|bad_alloc|Cannot allocate memory|"
         r"cudaMalloc failed: out of memory",
         "the model does not fit: use more GPUs or a quantised checkpoint"),
    _row("BAD_WEIGHTS", r"llama_model_load: error loading model",
         "llama.cpp does not take this file: its log says why"),
    _row("PORT_CONFLICT", r"EADDRINUSE|[Aa]ddress already in use", "try again"),
    _row("MODEL_FETCH", r"LocalEntryNotFoundError|GatedRepoError|RepositoryNotFoundError|"
         r"OfflineModeIsEnabled|couldn't connect to 'https|does not appear to have a file",
         "fetch the model first (hf download …), or give --model a directory"),
    _row("DEVICE_MAP", r"invalid device ordinal", "fewer GPUs are visible than the layout needs"),
    _row("COLLECTIVE_HANG", r"Watchdog caught collective operation timeout",
         "check the links between the GPUs"),
    _row("COMPILE_CACHE", r"(?s)(?:torch_compile_cache|torchinductor|\.triton/cache)\S*.{0,2000}"
         r"(?:FileNotFoundError|JSONDecodeError|EOFError|UnpicklingError|Stale file handle)",
         "a compile cache was damaged by another server: give this one its own with "
         "--server-env VLLM_CACHE_ROOT=…, on a local disk"),
    _row("RANK_LOST", r"Worker proc \S+ died unexpectedly",
         "one worker of the server died: see its lines in the log, and dmesg for the OOM killer"),
    _row("MISSING_MODULE", r"ModuleNotFoundError|No module named",
         "the server's environment lacks a package: see moeserve doctor"),
)  # fmt: skip


# Another start would only fail again: the way out is another layout, argument, model or machine.
LASTING = frozenset(
    {
        "SERVER_ARGS",
        "SERVER_MISSING",
        "MISSING_MODULE",
        "OOM_WEIGHTS",
        "OOM_KV",
        "OOM_GRAPH",
        "DEVICE_MAP",
        "CONFIG_DRIFT",
        "MODEL_FETCH",
        "BAD_WEIGHTS",
        "NOT_READY",
        "BAD_NODES",
    }
)


def may_pass(code: str) -> bool:
    """Say whether another start of the server may go better."""
    return code not in LASTING


def classify(log: str, default: str) -> tuple[str, str]:
    """Return the failure's class and advice; `default` when the log shows nothing known."""
    for known in FAILURES:
        if known.pattern.search(log):
            return known.code, known.advice
    return default, "see the end of the server's log"
