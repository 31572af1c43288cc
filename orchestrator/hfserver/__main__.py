"""Start the server: `python -m orchestrator.hfserver DECODER --model NAME [its own arguments]`."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from aiohttp import web

from catalog.errors import MoeserveError, RunFailed
from orchestrator.hfserver.api import Service
from orchestrator.hfserver.decoders import DECODERS, DecoderModule, Loaded, decoder_module
from orchestrator.hfserver.worker import Worker
from orchestrator.simserver.metrics import Metrics

SHUTDOWN_S = 1.0


def parser_for(module: DecoderModule) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="moeserve-hfserver", allow_abbrev=False)
    parser.add_argument("decoder", choices=DECODERS)
    parser.add_argument("--model", required=True)
    parser.add_argument("--served-model-name")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    module.add_arguments(parser)
    return parser


async def serve(known: argparse.Namespace, loaded: Loaded) -> None:
    """Serve until told to stop."""
    name = known.served_model_name or known.model
    worker = Worker(loaded.decoder)
    service = Service(worker, name, loaded.text, Metrics(name, 1))
    runner = web.AppRunner(
        service.app(),
        access_log=None,
        shutdown_timeout=SHUTDOWN_S,
        handler_cancellation=True,  # a client that leaves ends its decoding, streamed or not
    )
    await runner.setup()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await web.TCPSite(runner, known.host, known.port).start()
    details = ", ".join(f"{key} {value}" for key, value in loaded.decoder.details.items())
    print(f"{name} at http://{known.host}:{known.port}: {details}", file=sys.stderr, flush=True)
    await stop.wait()
    await runner.cleanup()
    worker.stop()


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        name = next((word for word in words if not word.startswith("-")), "")
        module = decoder_module(name)
        known = parser_for(module).parse_args(words)
        import uvloop

        uvloop.run(serve(known, module.load(known)))
    except MoeserveError as error:
        print(f"moeserve-hfserver: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # the address is taken, or is not one of ours
        print(f"moeserve-hfserver: error: {error}", file=sys.stderr)
        return RunFailed.exit_code
    return 0


if __name__ == "__main__":
    # A decoder that computes must not keep an ended server alive, nor torch's threads.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
