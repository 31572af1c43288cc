"""What the client's memory does while a run grows: `python benchmarks/loadgen/memory.py`.

One process of this project's client against the reference server, many streams open at once; its
resident memory is sampled five times a second. Flat means that a run of four times the tokens
peaks where the shorter one did. Prints the resident megabytes when the load begins, when half of
the time is over, at most and at the end, and what was lost.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
from reference import Mode, build, serving

HERE = Path(__file__).parent
SAMPLE_S = 0.2


def run(url: str, streams: int, requests: int, output: int) -> tuple[list[float], dict[str, Any]]:
    """Return the samples of resident megabytes and what the client printed."""
    numbers = [str(number) for number in (streams, requests, output)]
    with tempfile.TemporaryFile("w+") as out:
        client = subprocess.Popen([sys.executable, HERE / "ours.py", url, *numbers], stdout=out)
        watched, samples = psutil.Process(client.pid), []
        while client.poll() is None:
            samples.append(watched.memory_info().rss / 1e6)
            time.sleep(SAMPLE_S)
        if client.returncode:
            sys.exit(client.returncode)
        out.seek(0)
        return samples, json.load(out)


def line(streams: int, tokens: int, samples: list[float], found: dict[str, Any]) -> str:
    samples = [each for each in samples if each]
    # The start is over when the memory of imports and prepared requests stands still.
    begin = next((a for a, b in pairwise(samples[2:]) if abs(b - a) < 1), samples[0])
    shown = (begin, samples[len(samples) // 2], max(samples), samples[-1])
    cells = [f"{streams:,}", f"{tokens:,}", *(f"{each:.0f}" for each in shown)]
    lost = tokens - int(found["total_output_tokens"])
    cells += [str(lost), f"{found['output_throughput']:,.0f}"]
    stats = found["stats"]
    cells += [f"{1e6 * stats['cpu_s'] / tokens:.1f}", f"{1e6 * stats['decode_s'] / tokens:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", maxsplit=1)[0])
    parser.add_argument("--streams", type=int, default=5000)
    parser.add_argument("--output", type=int, default=200, help="tokens a request")
    parser.add_argument("--waves", default="1,4", help="requests a stream")
    parser.add_argument("--itl-ms", type=float, default=100)
    options = parser.parse_args()
    mode = Mode("memory", 200_000, int(1e3 * options.itl_ms), 1)
    print(
        "| streams | tokens | begin MB | half | most | end | lost | tokens/s | CPU us | decode us |"
    )
    print("|---" * 10 + "|")
    for waves in map(int, options.waves.split(",")):
        requests = waves * options.streams
        with serving(build(), mode) as server:
            samples, found = run(server.url, options.streams, requests, options.output)
        print(line(options.streams, requests * options.output, samples, found), flush=True)


if __name__ == "__main__":
    main()
