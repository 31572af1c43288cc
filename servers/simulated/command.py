"""The command line of the simulated server: vLLM's, as far as it has a meaning here."""

import argparse
from collections.abc import Sequence

from servers.simulated.arguments import Parser
from strategies.knobs import check_knobs
from strategies.layout import Layout

# What moeserve tells every vLLM server, or its parts on several nodes, and what no price hangs on:
# there are no weights to load, no sampling, no graphs to capture and no processes to find.
WITHOUT_MEANING = (
    "--generation-config",
    "--load-format",
    "--api-server-count",
    "--data-parallel-size-local",
    "--data-parallel-address",
    "--data-parallel-rpc-port",
    "--data-parallel-start-rank",
    "--nnodes",
    "--node-rank",
    "--master-addr",
    "--master-port",
)
KNOBS = {
    "all2all": "--all2all-backend",
    "dcp": "--decode-context-parallel-size",
    "placement": "--expert-placement-strategy",
}


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; BadValue for an argument that the simulation gives no price."""
    parser = Parser("moeserve-simulated")
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
    for flag in KNOBS.values():
        parser.add_argument(flag)
    parser.add_argument("--enable-return-routed-experts", action="store_true")
    parser.add_argument("--enable-prompt-tokens-details", action="store_true")
    parser.add_argument("--tokenizer", help="a directory with tokenizer.json, to count text with")
    parser.add_argument("--hardware", default="A100-80GB")
    parser.add_argument("--headless", action="store_true", help="a part that answers nobody")
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--enforce-eager", action="store_true", help=argparse.SUPPRESS)
    for flag in WITHOUT_MEANING:
        parser.add_argument(flag, help=argparse.SUPPRESS)
    args = parser.read(argv)
    args.model = args.model or args.model_positional
    if not args.model:
        parser.error("argument --model: expected one argument")
    return args


def layout_of(args: argparse.Namespace) -> Layout:
    """Return the layout with its knobs; BadValue for a knob where it cannot be."""
    layout = Layout(
        tp=args.tensor_parallel_size,
        pp=args.pipeline_parallel_size,
        dp=args.data_parallel_size,
        ep=args.enable_expert_parallel,
    )
    given = {name: getattr(args, flag[2:].replace("-", "_")) for name, flag in KNOBS.items()}
    knobs = tuple((name, value) for name, value in given.items() if value is not None)
    check_knobs(layout, knobs)
    return Layout(tp=layout.tp, pp=layout.pp, dp=layout.dp, ep=layout.ep, knobs=knobs)
