"""The clients: how each is called, and where each says what it measured."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUTPUT = 128
HERE = Path(__file__).parent
VLLM_MAIN = (
    "import argparse,sys;from vllm.benchmarks.serve import add_cli_args,main;"
    "p=argparse.ArgumentParser();add_cli_args(p);main(p.parse_args(sys.argv[1:]))"
)


@dataclass(frozen=True, slots=True)
class Load:
    """What a client is asked to do, and a folder of its own to do it in."""

    url: str
    concurrency: int
    requests: int
    folder: Path
    tokenizer: Path


Figures = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Client:
    name: str
    command: Callable[[Load], list[str]]
    read: Callable[[Load, str], Figures]


def figures(
    mean_ttft: float, mean_itl: float, p99_itl: float | None, tokens_per_s: float
) -> Figures:
    return {
        "mean_ttft_ms": mean_ttft,
        "mean_itl_ms": mean_itl,
        "p99_itl_ms": p99_itl,
        "output_throughput": tokens_per_s,
    }


def _flat(found: dict[str, Any]) -> Figures:
    """vLLM's names, which are ours too."""
    return figures(
        found["mean_ttft_ms"], found["mean_itl_ms"], found["p99_itl_ms"], found["output_throughput"]
    )


def floor(folder: Path) -> Client:
    def command(load: Load) -> list[str]:
        body = load.folder / "body.json"
        asked = {"model": "ref", "prompt": list(range(1000, 1128)), "max_tokens": OUTPUT}
        body.write_text(json.dumps({**asked, "stream": True}, separators=(",", ":")))
        port = load.url.rsplit(":", 1)[1]
        numbers = [str(load.concurrency), str(load.requests), str(OUTPUT)]
        return [str(folder / "floor"), port, *numbers, str(body)]

    def read(_load: Load, out: str) -> Figures:
        found = json.loads(out)
        return {
            **_flat({**found, "output_throughput": found["tokens"] / found["duration"]}),
            "lag_ms": found["mean_lag_ms"],
            "tokens": found["tokens"],
        }

    return Client("floor (C)", command, read)


def ours(workers: int = 1) -> Client:
    def command(load: Load) -> list[str]:
        numbers = [str(load.concurrency), str(load.requests), str(OUTPUT)]
        return [
            sys.executable,
            str(HERE / "ours.py"),
            load.url,
            *numbers,
            "--workers",
            str(workers),
        ]

    def read(_load: Load, out: str) -> Figures:
        found = json.loads(out)
        return {
            **_flat(found),
            "lag_ms": found["mean_dispatch_lag_ms"],
            "tokens": found["total_output_tokens"],
            "decode_s": found["stats"]["decode_s"],
        }

    return Client("moeserve" if workers == 1 else f"moeserve x{workers}", command, read)


def _vllm_arguments(load: Load) -> list[str]:
    lengths = ["--random-input-len", "128", "--random-output-len", str(OUTPUT), "--ignore-eos"]
    counts = ["--num-prompts", str(load.requests), "--max-concurrency", str(load.concurrency)]
    statistics = ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,99"]
    result = ["--save-result", "--result-filename", str(load.folder / "result.json")]
    server = ["--backend", "vllm", "--base-url", load.url, "--model", "ref"]
    tokenizer = ["--tokenizer", str(load.tokenizer), "--dataset-name", "random"]
    return [*server, *tokenizer, *lengths, *counts, *statistics, *result, "--disable-tqdm"]


def _read_vllm(load: Load, _out: str) -> Figures:
    return _flat(json.loads((load.folder / "result.json").read_text()))


def vllm_python(python: str) -> Client:
    return Client(
        "vllm (Python)",
        lambda load: [python, "-c", VLLM_MAIN, *_vllm_arguments(load)],
        _read_vllm,
    )


def vllm_rust(binary: str) -> Client:
    return Client(
        "vllm-rs",
        lambda load: [binary, "bench", "serve", *_vllm_arguments(load)],
        _read_vllm,
    )


def aiperf(binary: str) -> Client:
    def command(load: Load) -> list[str]:
        lengths = ["--isl", "128", "--isl-stddev", "0", "--osl", str(OUTPUT), "--osl-stddev", "0"]
        counts = ["--concurrency", str(load.concurrency), "--request-count", str(load.requests)]
        server = ["-m", "ref", "--endpoint-type", "completions", "--streaming", "--url", load.url]
        tokenizer = ["--tokenizer", str(load.tokenizer), "--extra-inputs", "ignore_eos:true"]
        output = ["--ui", "none", "--artifact-dir", str(load.folder)]
        return [binary, "profile", *server, *tokenizer, *lengths, *counts, *output]

    def read(load: Load, _out: str) -> Figures:
        found = json.loads(next(load.folder.rglob("profile_export_aiperf.json")).read_text())
        itl = found["inter_token_latency"]
        throughput = found["output_token_throughput"]["avg"]
        # Its p99 is one of the requests' means, not of the gaps, so it is not comparable.
        return figures(found["time_to_first_token"]["avg"], itl["avg"], None, throughput)

    return Client("aiperf", command, read)


def guidellm(binary: str) -> Client:
    def command(load: Load) -> list[str]:
        backend = f"kind=openai_http,target={load.url},model=ref,request_format=/v1/completions"
        data = f"kind=synthetic_text,prompt_tokens=128,output_tokens={OUTPUT}"
        return [
            *(binary, "run", "--backend", backend, "--data", data, "--disable-console"),
            *("--profile", f"kind=concurrent,streams={load.concurrency}"),
            *("--constraint", f"kind=max_requests,count={load.requests}"),
            *("--tokenizer", f"kind=hf_auto,model={load.tokenizer}"),
            *("--output", f"kind=json,path={load.folder / 'result.json'}"),
        ]

    def read(load: Load, _out: str) -> Figures:
        found = json.loads((load.folder / "result.json").read_text())["benchmarks"][0]["metrics"]
        mean = {
            name: found[name]["successful"]["mean"]
            for name in (
                "time_to_first_token_ms",
                "inter_token_latency_ms",
                "output_tokens_per_second",
            )
        }
        # As aiperf: its p99 is one of the requests' means.
        first, between, throughput = mean.values()
        return figures(first, between, None, throughput)

    return Client("guidellm", command, read)


def installed(paths: dict[str, str | None]) -> list[Client]:
    """Return the peers that are given or found on the PATH."""
    makers = {"vllm-rs": vllm_rust, "aiperf": aiperf, "guidellm": guidellm}
    found = {name: paths.get(name) or shutil.which(name) for name in makers}
    peers = [make(path) for name, make in makers.items() if (path := found[name])]
    python = paths.get("vllm-python")
    return ([vllm_python(python)] if python else []) + peers
