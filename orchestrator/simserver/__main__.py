"""Start the simulated server with vLLM's arguments; those it has no use for are ignored."""

import argparse
import asyncio
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from catalog.errors import MoeserveError
from catalog.from_hf import load_model
from catalog.hardware_table import gpu
from orchestrator.simserver.api import Service
from orchestrator.simserver.engine import Engine
from orchestrator.simserver.faults import Faults, parse_faults
from orchestrator.simserver.metrics import Metrics
from orchestrator.simserver.routing import even_routing
from perfmodel.serving import server
from strategies.layout import Layout

CHARACTERS_PER_TOKEN = 4


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="moeserve-simulated", allow_abbrev=False)
    parser.add_argument("model_positional", nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--served-model-name")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--uds")
    parser.add_argument("--tensor-parallel-size", "-tp", type=int, default=1)
    parser.add_argument("--pipeline-parallel-size", "-pp", type=int, default=1)
    parser.add_argument("--data-parallel-size", "-dp", type=int, default=1)
    parser.add_argument("--enable-expert-parallel", action="store_true")
    parser.add_argument("--enable-return-routed-experts", action="store_true")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--tokenizer", help="a directory with tokenizer.json, to count text with")
    parser.add_argument("--hardware", default="A100-80GB")
    parser.add_argument("--headless", action="store_true", help="a part that answers nobody")
    parser.add_argument("--fault", action="append", default=[])
    known, _ = parser.parse_known_args(argv)
    known.model = known.model or known.model_positional
    if not known.model:
        parser.error("argument --model: expected one argument")
    return known


def layout_of(known: argparse.Namespace) -> Layout:
    return Layout(
        tp=known.tensor_parallel_size,
        pp=known.pipeline_parallel_size,
        dp=known.data_parallel_size,
        ep=known.enable_expert_parallel,
    )


async def serve(known: argparse.Namespace, faults: Faults) -> int:
    """Serve until told to stop, or until a fault ends it; return the exit code."""
    model, layout = load_model(_name(known.model)), layout_of(known)
    longest = known.max_model_len or model.max_context
    built = server(model, layout, gpu(known.hardware), longest=min(longest, 4096))
    name = known.served_model_name or known.model
    engine = Engine(built, Metrics(name, layout.dp), faults)
    routed = model.experts if known.enable_return_routed_experts else None
    service = Service(
        engine,
        name,
        longest,
        faults,
        token_counter(known),
        itertools.count(1),
        even_routing(routed) if routed else None,
    )
    runner = web.AppRunner(service.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site: web.BaseSite = (
        web.UnixSite(runner, known.uds)
        if known.uds
        else web.TCPSite(runner, known.host, known.port)
    )
    stop = _stop_event(faults)
    if known.headless:
        await runner.cleanup()
        await stop.wait()
        return 0
    report(layout, built.kv_tokens_capacity, faults)
    await site.start()
    where = f"unix:{known.uds}" if known.uds else f"http://{known.host}:{known.port}"
    print(f"simulated {model.name} as {layout.name} at {where}", file=sys.stderr, flush=True)
    ended = [asyncio.ensure_future(event.wait()) for event in (stop, engine.died)]
    await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    if engine.died.is_set():
        os._exit(0)
    await runner.cleanup()
    return 0


def _name(model: str) -> str:
    """A tiny checkpoint's directory stands for its catalog row."""
    from orchestrator.engines.tiny import NAMES

    name = Path(model).name
    return name if name in NAMES else model


def report(layout: Layout, kv_tokens: int, faults: Faults) -> None:
    """Say which layout runs, in vLLM's words, so that it can be read back."""
    if faults.wrong_layout:
        layout = Layout(tp=layout.tp * 2)
    print(
        f"Initializing a simulated engine with config: tensor_parallel_size={layout.tp}, "
        f"pipeline_parallel_size={layout.pp}, data_parallel_size={layout.dp}"
    )
    for rank in range(layout.num_gpus):
        print(f"rank {rank} in world size {layout.num_gpus} is assigned as DP rank …")
    if layout.ep:
        print(f"[EP Rank 0/{layout.ep_degree}] Expert parallelism is enabled")
    for _ in range(layout.dp):
        print(f"GPU KV cache size: {kv_tokens // layout.dp:,} tokens", flush=True)


def token_counter(known: argparse.Namespace) -> Callable[[str], int]:
    """Count tokens of text with a real tokenizer if one is given, else estimate."""
    if known.tokenizer is None:
        return lambda text: max(1, len(text) // CHARACTERS_PER_TOKEN)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(known.tokenizer) / "tokenizer.json"))
    return lambda text: max(1, len(tokenizer.encode(text).ids))


def _stop_event(faults: Faults) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, (lambda: None) if faults.ignore_term else stop.set)
    return stop


def main(argv: Sequence[str] | None = None) -> int:
    known = arguments(sys.argv[1:] if argv is None else argv)
    try:
        faults = parse_faults(known.fault)
        if faults.exit_at_start is not None:
            print("told to end at the start", file=sys.stderr)
            return faults.exit_at_start
        time.sleep(faults.slow_start_s)
        import uvloop

        code: int = uvloop.run(serve(known, faults))
        return code
    except MoeserveError as error:
        print(f"moeserve-simulated: error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
