"""A prepared hour on a machine with a GPU, in eight minutes: `python benchmarks/gpu -o out`.

It needs no network and takes what is there: torch, and whatever of triton, transformers, vLLM,
torchao, bitsandbytes and HQQ. Each part runs in a process of its own for a bounded time: one that
fails or hangs says so, keeps the tables it had, and the others go on. Written are `gpu.json`, with
everything, and `tables.md`; `--docs docs/gpu.md` puts the tables into that page too.

Without a GPU, or with --small, the same parts run at small sizes: that tries the script, no GPU.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts import PARTS, TOTAL_S, Part
from table import Table, insert, joined, markdown, table_of

from orchestrator.host.process import ServerProcess

HERE = Path(__file__).parent
TAIL = 4000
GRACE_S, POLL_S = 15.0, 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a part."""

    part: str
    status: str
    seconds: float
    tables: tuple[Table, ...]
    why: str = ""

    @property
    def heading(self) -> str:
        told = f": {self.why}" if self.why else ""
        return f"### {self.part}\n\n{self.status}, {self.seconds:.0f} s{told}\n"


async def run_part(part: Part, *, device: str, size: str, folder: Path, limit_s: float) -> Outcome:
    """Run a part for as long as it may take; whatever it started ends with it, servers in order."""
    out, log = folder / f"{part.module}.jsonl", folder / f"{part.module}.log"
    for old in (out, log):
        old.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / "part.py"), part.module, device, size, str(out)]
    begun_s = time.monotonic()
    process = ServerProcess(command, log=log, env=_threads(device), grace_s=GRACE_S)
    try:
        # A process's end sets no event.
        while process.exit_code is None and time.monotonic() - begun_s < limit_s:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        code = process.exit_code
    finally:
        await process.stop()
    status = "done" if code == 0 else "out of time" if code is None else "failed"
    why = "" if code == 0 else f"after {limit_s:.0f} s" if code is None else _last_line(log)
    return Outcome(part.module, status, time.monotonic() - begun_s, _read(out), why)


def _threads(device: str) -> dict[str, str]:
    """One thread for a try on a CPU, which others may use: threads would wait for each other."""
    return {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}


def _read(path: Path) -> tuple[Table, ...]:
    if not path.exists():
        return ()
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return joined(table_of(json.loads(line)) for line in whole)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace")[-TAIL:].strip().splitlines()
    return lines[-1] if lines else "it said nothing"


async def run_all(parts: Sequence[Part], *, device: str, size: str, folder: Path) -> list[Outcome]:
    """Run the parts one after another within the time there is for all."""
    deadline_s = time.monotonic() + TOTAL_S
    outcomes = []
    for part in parts:
        left_s = deadline_s - time.monotonic()
        if left_s < 1:
            outcome = Outcome(part.module, "not begun", 0.0, (), "no time was left")
        else:
            limit_s = min(part.limit_s, left_s)
            outcome = await run_part(part, device=device, size=size, folder=folder, limit_s=limit_s)
        print(f"{part.module}: {outcome.status}, {outcome.seconds:.0f} s {outcome.why}", flush=True)
        outcomes.append(outcome)
        write(outcomes, device=device, size=size, folder=folder)
    return outcomes


def write(outcomes: Sequence[Outcome], *, device: str, size: str, folder: Path) -> list[str]:
    """Write what there is so far, after every part: the machine may be taken away."""
    document: dict[str, Any] = {
        "device": device,
        "size": size,
        "written_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "parts": [
            {
                "part": each.part, "status": each.status, "seconds": each.seconds,
                "why": each.why, "tables": [json.loads(table.as_json()) for table in each.tables],
            }
            for each in outcomes
        ],
    }  # fmt: skip
    (folder / "gpu.json").write_text(json.dumps(document, indent=1))
    texts = [text for each in outcomes for text in (each.heading, *map(markdown, each.tables))]
    (folder / "tables.md").write_text("\n".join(texts))
    return texts


def _device() -> str:
    """Ask in another process: one that has looked at the GPU would hold memory of it."""
    asked = "import torch; print('cuda' if torch.cuda.is_available() else 'cpu')"
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "cpu"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, required=True, help="a folder for the results")
    parser.add_argument("--small", action="store_true", help="small sizes, on a GPU too")
    parser.add_argument("--parts", default=",".join(part.module for part in PARTS))
    parser.add_argument("--docs", type=Path, help="a page that takes in the tables")
    asked = parser.parse_args()
    chosen = asked.parts.split(",")
    known = {part.module: part for part in PARTS}
    if unknown := [name for name in chosen if name not in known]:
        parser.error(f"--parts: unknown {', '.join(unknown)}; allowed: {', '.join(known)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    device = _device()
    size = "small" if asked.small or device == "cpu" else "whole"
    print(f"on {device}, {size} sizes, at most {TOTAL_S:.0f} s", flush=True)
    parts = [known[name] for name in chosen]
    outcomes = asyncio.run(run_all(parts, device=device, size=size, folder=asked.out))
    if asked.docs:
        insert(asked.docs, write(outcomes, device=device, size=size, folder=asked.out))
    sys.exit(0 if all(each.status == "done" for each in outcomes) else 5)


if __name__ == "__main__":
    main()
