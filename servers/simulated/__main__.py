"""Start the simulated server with vLLM's arguments; those it has no price for are refused."""

import argparse
import asyncio
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from catalog.dtypes import as_served
from catalog.errors import MoeserveError
from catalog.from_hf import load_model
from catalog.hardware import Gpu
from catalog.models import Model
from perfmodel.priced import check_priced
from perfmodel.serving import ServerModel, server
from servers.http.listen import listen
from servers.metrics import Metrics
from servers.simulated.api import SimulatedApi
from servers.simulated.arguments import priced
from servers.simulated.command import arguments, layout_of
from servers.simulated.engine import EngineCore
from servers.simulated.faults import Faults, parse_faults
from servers.simulated.routing import even_routing
from strategies.layout import Layout
from strategies.own_gpus import find_gpu, own_from_json

CHARACTERS_PER_TOKEN = 4
USUAL_LONGEST = 4096
"""Tokens of the sequence that memory must hold where no --max-model-len says more or less."""


async def serve(args: argparse.Namespace, faults: Faults) -> int:
    """Serve until told to stop, or until a fault ends it; return the exit code."""
    model, layout = load_model(_name(args.model)), layout_of(args)
    longest = priced(args).longest(model.max_context or USUAL_LONGEST)
    built = build(args, model, layout)
    name = args.served_model_name or args.model
    engine = EngineCore(built, Metrics(name, layout.dp), faults)
    routed = model.experts if args.enable_return_routed_experts else None
    routing = even_routing(routed) if routed else None
    api = SimulatedApi(
        engine, name, longest, faults, tokenizer(args), routing, args.enable_prompt_tokens_details
    )
    runner = web.AppRunner(api.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stop = _stop_event(faults)
    if args.headless:
        await runner.cleanup()
        await stop.wait()
        return 0
    report(layout, built.kv_tokens_capacity, faults)
    listening = await listen(runner, host=args.host, port=args.port, path=args.uds or "")
    where = f"unix:{args.uds}" if args.uds else f"http://{args.host}:{args.port}"
    print(f"simulated {model.name} as {layout.name} at {where}", file=sys.stderr, flush=True)
    ended = [asyncio.ensure_future(event.wait()) for event in (stop, engine.died)]
    await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
    if engine.died.is_set():
        os._exit(0)
    listening.close()
    await runner.cleanup()
    return 0


def build(args: argparse.Namespace, model: Model, layout: Layout) -> ServerModel:
    """Build the model of the server, as virtual time builds it from the same arguments."""
    requested = priced(args)
    requested.check_context(model)
    check_priced(layout, model)
    gpu = _gpu(args.hardware)
    return server(
        requested.held(as_served(model, gpu)),
        layout,
        gpu,
        longest=requested.longest(min(model.max_context or USUAL_LONGEST, USUAL_LONGEST)),
        setup=requested.setup(),
    )


def _gpu(text: str) -> Gpu:
    """A name, a file, or a row as JSON: of a GPU that only whoever starts this knows."""
    return own_from_json(text) if text.startswith("{") else find_gpu(text)


def _name(model: str) -> str:
    """A tiny checkpoint's directory stands for its catalog row."""
    from servers.tiny_checkpoint import NAMES

    name = Path(model).name
    return name if name in NAMES else model


def report(layout: Layout, kv_tokens: int, faults: Faults) -> None:
    """Say which layout runs, in vLLM's words, so that it can be read back."""
    if faults.wrong_layout:
        layout = Layout(tp=layout.tp * 2)
    given = {"data_parallel_size": layout.dp, "enable_expert_parallel": layout.ep}
    print(f"non-default args: {given}")
    print(
        f"Initializing a simulated engine with config: tensor_parallel_size={layout.tp}, "
        f"pipeline_parallel_size={layout.pp}, data_parallel_size={layout.dp}"
    )
    for rank in range(layout.num_gpus):
        stage, tensor = divmod(rank, layout.tp)
        data, stage = divmod(stage, layout.pp)
        print(
            f"rank {rank} in world size {layout.num_gpus} is assigned as DP rank {data}, "
            f"PP rank {stage}, TP rank {tensor}"
        )
    if layout.ep:
        print(f"[EP Rank 0/{layout.ep_degree}] Expert parallelism is enabled")
    for rank in range(layout.dp):
        tokens = f"{kv_tokens // layout.dp:,} tokens"
        print(f"(EngineCore_DP{rank} pid={os.getpid()}) GPU KV cache size: {tokens}", flush=True)


def tokenizer(args: argparse.Namespace) -> Callable[[str], Sequence[int]]:
    """Return what turns text into ids: a real tokenizer if one is given, else a stand-in."""
    if args.tokenizer is None:
        return pieces
    from tokenizers import Tokenizer

    real = Tokenizer.from_file(str(Path(args.tokenizer) / "tokenizer.json"))
    return lambda text: real.encode(text).ids or [0]


def pieces(text: str) -> list[int]:
    """An id for every four characters: about as many as a tokenizer gives, alike where they are."""
    size = CHARACTERS_PER_TOKEN
    starts = range(0, len(text) - size + 1, size) or range(1)
    return [zlib.crc32(text[start : start + size].encode()) for start in starts]


def _stop_event(faults: Faults) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, (lambda: None) if faults.ignore_term else stop.set)
    return stop


def main(argv: Sequence[str] | None = None) -> int:
    try:
        args = arguments(sys.argv[1:] if argv is None else argv)
        faults = parse_faults(args.fault)
        if faults.exit_at_start is not None:
            print("told to end at the start", file=sys.stderr)
            return faults.exit_at_start
        time.sleep(faults.slow_start_s)
        import uvloop

        code: int = uvloop.run(serve(args, faults))
        return code
    except MoeserveError as error:
        print(f"moeserve-simulated: error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
