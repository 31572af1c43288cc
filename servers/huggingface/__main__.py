"""Start the server: `python -m servers.huggingface DECODER --model NAME [its own arguments]`."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence

from aiohttp import web

from catalog.errors import MoeserveError, RunFailed
from servers.http.listen import listen
from servers.huggingface.api import HuggingFaceApi
from servers.huggingface.decoder_registry import DECODERS, DecoderModule, Loaded, decoder_module
from servers.huggingface.worker import DecodeWorker
from servers.metrics import Metrics

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


async def serve(args: argparse.Namespace, loaded: Loaded) -> None:
    """Serve until told to stop."""
    name = args.served_model_name or args.model
    worker = DecodeWorker(loaded.decoder)
    service = HuggingFaceApi(worker, name, loaded.text, Metrics(name, 1))
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
    listening = await listen(runner, host=args.host, port=args.port)
    details = ", ".join(f"{key} {value}" for key, value in loaded.decoder.details.items())
    print(f"{name} at http://{args.host}:{args.port}: {details}", file=sys.stderr, flush=True)
    await stop.wait()
    listening.close()
    await runner.cleanup()
    worker.stop()


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        name = next((word for word in words if not word.startswith("-")), "")
        module = decoder_module(name)
        args = parser_for(module).parse_args(words)
        import uvloop

        uvloop.run(serve(args, module.load(args)))
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
