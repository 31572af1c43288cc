"""A measuring process: `python -m microbench.worker`, a job on its input, messages on its output.

A process of its own has threads pinned from its start, a kernel that crashes ends nothing else, and
nothing that an earlier measurement left behind.
"""

import os
import sys

import msgspec

from catalog.errors import MoeserveError
from microbench.messages import ProcessRefused, SweepJob, SweepMessage, Turn


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=SweepJob)
    # Libraries print what they like: the messages keep the output, everything else goes to the log.
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def send(message: SweepMessage) -> None:
        channel.write(msgspec.json.encode(message) + b"\n")
        if isinstance(message, Turn):
            wait()

    wait()
    from microbench.measure import sweep

    try:
        sweep(job, send)
    except MoeserveError as error:
        send(ProcessRefused(reason=str(error)))
    except (MemoryError, RuntimeError) as error:
        send(ProcessRefused(reason=f"measuring failed: {' '.join(str(error).split())[:300]}"))


def wait() -> None:
    """Wait for the turn; the command's end is this process's end."""
    if not sys.stdin.buffer.readline():
        sys.exit()


if __name__ == "__main__":
    main()
