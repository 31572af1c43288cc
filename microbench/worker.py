"""A measuring process: `python -m microbench.worker`, a job on its input, messages on its output.

A process of its own has threads pinned from its start, a kernel that crashes ends nothing else, and
nothing that an earlier measurement left behind.
"""

import os
import sys

import msgspec

from catalog.errors import MoeserveError
from microbench.messages import Job, Message, Refused, Turn


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    # Libraries print what they like: the messages keep the output, everything else goes to the log.
    channel = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def tell(message: Message) -> None:
        channel.write(msgspec.json.encode(message) + b"\n")
        if isinstance(message, Turn):
            wait()

    wait()
    from microbench.measure import sweep

    try:
        sweep(job, tell)
    except MoeserveError as error:
        tell(Refused(reason=str(error)))
    except (MemoryError, RuntimeError) as error:
        tell(Refused(reason=f"measuring failed: {' '.join(str(error).split())[:300]}"))


def wait() -> None:
    """Wait for the turn; the command's end is this process's end."""
    if not sys.stdin.buffer.readline():
        sys.exit()


if __name__ == "__main__":
    main()
