"""Compare load generators on a server whose token times are known: `python benchmarks/loadgen`.

Builds the server and the bare C client with `cc`, runs this project's client and each peer that
is found, in rounds so that what else the machine does hits all alike, and prints the medians.
"""

import argparse
import importlib.util
import json
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

from clients import OUTPUT, Client, Load, floor, installed, ours
from cpu import run_sampled
from reference import MODES, Mode, ReferenceServer, build, serving
from tokenizer import write_tokenizer

PEERS = ("vllm-rs", "aiperf", "guidellm")
FAILURES = (RuntimeError, OSError, LookupError, ValueError, StopIteration, TimeoutExpired)
Result = dict[str, Any]
COLUMNS = (
    ("ttft_error_ms", "TTFT error ms"),
    ("ttft_error_from_send_ms", "from send"),
    ("itl_error_percent", "ITL error %"),
    ("p99_itl_ms", "p99 ITL ms"),
    ("true_p99_itl_ms", "(true)"),
    ("cpu_us_per_token", "CPU us/token"),
    ("cpu_with_all_us_per_token", "with start, decode"),
    ("output_throughput", "tokens/s"),
    ("others_percent", "others' CPU %"),
)


def run_once(
    client: Client, server: ReferenceServer, level: int, options: argparse.Namespace
) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        requests = level * options.waves
        load = Load(server.url, level, requests, Path(folder), options.tokenizer)
        server.reset()
        server_cpu_s = server.truth()["cpu_s"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "VLLM_PLUGINS": "", "NO_COLOR": "1"}
        out, sampler = run_sampled(client.command(load), env=env, timeout_s=options.timeout)
        truth = server.truth()
        truth["cpu_s"] -= server_cpu_s
        return judged(client.read(load, out), truth, sampler, requests)


def judged(found: Result, truth: Result, sampler: Any, requests: int) -> Result:
    """Hold what a client reports to what the server did."""
    begin_s, end_s = truth["begin_s"], truth["end_s"]
    tokens = truth["tokens"]
    client_s = sampler.between(begin_s, end_s)
    machine_s = sampler.machine_between(begin_s, end_s)
    ttft_error_ms = found["mean_ttft_ms"] - truth["mean_ttft_ms"]
    others_s = machine_s - client_s - truth["cpu_s"]
    return {
        **found,
        "ttft_error_ms": ttft_error_ms,
        "ttft_error_from_send_ms": ttft_error_ms - found["lag_ms"] if "lag_ms" in found else None,
        "itl_error_percent": 100 * (found["mean_itl_ms"] / truth["mean_itl_ms"] - 1),
        "true_p99_itl_ms": truth["p99_itl_ms"],
        "cpu_us_per_token": client_s / tokens * 1e6,
        "cpu_with_all_us_per_token": sampler.seconds[-1] / tokens * 1e6,
        "others_percent": 100 * max(0.0, others_s) / ((end_s - begin_s) * (os.cpu_count() or 1)),
        "lost_tokens": found["tokens"] - requests * OUTPUT if "tokens" in found else None,
    }


def medians(results: Sequence[Result]) -> Result:
    names = {name for result in results for name in result}
    return {
        name: statistics.median(values)
        for name in names
        if (values := [result[name] for result in results if result.get(name) is not None])
    }


def compare(mode: Mode, level: int, clients: Sequence[Client], options: argparse.Namespace) -> None:
    results: dict[str, list[Result]] = {client.name: [] for client in clients}
    with serving(options.programs, mode) as server:
        for _ in range(options.rounds):
            for client in clients:
                try:
                    results[client.name].append(run_once(client, server, level, options))
                except FAILURES as error:
                    print(f"{client.name}: {str(error).strip()[-300:]}", file=sys.stderr)
    print(f"\n{mode.name}, {level} streams, medians of {options.rounds} rounds\n")
    print("| client | " + " | ".join(title for _, title in COLUMNS) + " | runs |")
    print("|---" * (len(COLUMNS) + 2) + "|")
    for name, found in results.items():
        if found:
            print(line(name, medians(found), len(found)), flush=True)
    if options.json:
        with options.json.open("a") as file:
            file.write(json.dumps({"mode": mode.name, "level": level, "results": results}) + "\n")


def line(name: str, result: Result, runs: int) -> str:
    cells = [f"{result[key]:,.2f}" if key in result else "-" for key, _ in COLUMNS]
    return f"| {name} | " + " | ".join(cells) + f" | {runs} |"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--modes", default="paced", help=f"of {', '.join(MODES)}")
    parser.add_argument("--streams", default="32,128,512")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--waves", type=int, default=3, help="requests per stream")
    parser.add_argument("--workers", type=int, default=1, help="also run moeserve with so many")
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--json", type=Path, help="append all single results to this file")
    parser.add_argument("--no-peers", action="store_true")
    for name in PEERS:
        parser.add_argument(f"--{name}", help="path, if it is not on the PATH")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    # A kill ends the clients and the server too, since it unwinds as any exit does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.programs = build()
    options.tokenizer = options.programs / "tokenizer"
    clients = [floor(options.programs), ours()]
    if options.workers > 1:
        clients.append(ours(options.workers))
    if not options.no_peers:
        if importlib.util.find_spec("tokenizers"):
            write_tokenizer(options.tokenizer)
        has_vllm = importlib.util.find_spec("vllm") is not None
        given = {name: getattr(options, name.replace("-", "_")) for name in PEERS}
        clients += installed({**given, "vllm-python": sys.executable if has_vllm else None})
    for name in options.modes.split(","):
        for level in options.streams.split(","):
            compare(MODES[name], int(level), clients, options)


if __name__ == "__main__":
    main()
