"""llama.cpp's own HTTP server out of the `xllamacpp` package, for want of a `llama-server`.

    python -m orchestrator.engines.llamacpp.server --model FILE --port 8080 …

It takes the flags of llama-server that are listed here, each with llama-server's meaning.
"""

import argparse
import signal
import sys
from collections.abc import Sequence

import xllamacpp

EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"
"""Tensors that llama.cpp's --cpu-moe keeps on the host: common/common.h, LLM_FFN_EXPS_REGEX."""
FLASH = {
    "on": xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    "auto": xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_AUTO,
}
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
ENDING = (signal.SIGTERM, signal.SIGINT)


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(prog="llamacpp_server", allow_abbrev=False)
    flags.add_argument("-m", "--model", default="")
    flags.add_argument("-a", "--alias", default="")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8080)
    flags.add_argument("-np", "--parallel", type=int, default=1)
    flags.add_argument("-c", "--ctx-size", type=int, default=0)
    flags.add_argument("-b", "--batch-size", type=int)
    flags.add_argument("-ub", "--ubatch-size", type=int)
    flags.add_argument("-t", "--threads", type=int)
    flags.add_argument("-dev", "--device", choices=("none",))
    flags.add_argument("-ngl", "--n-gpu-layers", type=int)
    flags.add_argument("-cmoe", "--cpu-moe", action="store_true")
    flags.add_argument("-ncmoe", "--n-cpu-moe", type=int, default=0)
    flags.add_argument("-fa", "--flash-attn", choices=FLASH, default="auto")
    flags.add_argument("-ctk", "--cache-type-k", choices=CACHE_TYPES, default="f16")
    flags.add_argument("-ctv", "--cache-type-v", choices=CACHE_TYPES, default="f16")
    flags.add_argument("-cram", "--cache-ram", type=int)
    flags.add_argument("--no-cache-prompt", action="store_true")
    flags.add_argument("--metrics", action="store_true")
    flags.add_argument("--no-webui", action="store_true")
    flags.add_argument("--list-devices", action="store_true")
    return flags


def main(words: Sequence[str] | None = None) -> int:
    given = parser().parse_args(words)
    if given.list_devices:
        print("Available devices:")
        for device in accelerators():
            print(f"  {device}")
        return 0
    # Blocked before any thread starts, so that none of the server's takes the signal from us.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        server = xllamacpp.Server(parameters(given))
    except RuntimeError as error:
        print(f"llama.cpp: {error}", file=sys.stderr)
        return 1
    print(f"xllamacpp {xllamacpp.__version__} serves at {server.listening_address}", flush=True)
    signal.sigwait(ENDING)
    del server  # ends its threads
    return 0


def accelerators() -> list[str]:
    """Return the devices that llama-server --list-devices would list, each in its words."""
    cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    return [
        f"{device['name']}: {device['description']}"
        for device in xllamacpp.get_device_info()
        if device["type"] != cpu
    ]


def parameters(given: argparse.Namespace) -> xllamacpp.CommonParams:
    """Return llama.cpp's parameters for the flags given."""
    wanted = xllamacpp.CommonParams()
    wanted.model.path = given.model
    wanted.model_alias = {given.alias} if given.alias else set()
    wanted.hostnames = [given.host]
    wanted.port = given.port
    wanted.n_parallel = given.parallel
    wanted.n_ctx = given.ctx_size
    wanted.n_batch = given.batch_size or wanted.n_batch
    wanted.n_ubatch = given.ubatch_size or wanted.n_ubatch
    wanted.cpuparams.n_threads = given.threads or wanted.cpuparams.n_threads
    wanted.flash_attn_type = FLASH[given.flash_attn]
    wanted.cache_type_k = cache_type(given.cache_type_k)
    wanted.cache_type_v = cache_type(given.cache_type_v)
    wanted.cache_ram_mib = wanted.cache_ram_mib if given.cache_ram is None else given.cache_ram
    wanted.cache_prompt = not given.no_cache_prompt
    wanted.endpoint_metrics = given.metrics
    wanted.ui = not given.no_webui
    place(wanted, given)
    return wanted


def place(wanted: xllamacpp.CommonParams, given: argparse.Namespace) -> None:
    """Set which layers go to a GPU and which experts stay in host memory."""
    if given.device == "none":
        wanted.n_gpu_layers, wanted.no_op_offload = 0, True
    elif given.n_gpu_layers is not None:
        wanted.n_gpu_layers = given.n_gpu_layers
    layers = [rf"blk\.{layer}{EXPERTS}" for layer in range(given.n_cpu_moe)]
    kept = [EXPERTS] if given.cpu_moe else layers
    if kept:
        wanted.tensor_buft_overrides = ",".join(f"{pattern}=CPU" for pattern in kept)


def cache_type(name: str) -> xllamacpp.ggml_type:
    return xllamacpp.ggml_type[f"GGML_TYPE_{name.upper()}"]


if __name__ == "__main__":
    sys.exit(main())
