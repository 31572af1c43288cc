"""How slow this machine is at the moment, and waiting that takes it into account.

A limit of a test bounds a hang; it says nothing of how fast anything is. On a machine that is
busy with other things the same limit comes sooner, so each is multiplied by what a small probe
took here, against what it takes on a quiet machine. The load may rise after the probe: limits
are several times what a test takes, and `limit` doubles them.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

VARIABLE = "MOESERVE_TEST_SLOWNESS"
"""Where the session keeps its factor: the processes of pytest-xdist inherit it."""
QUIET_LOOP_S, QUIET_STARTS_S = 0.1, 0.04
"""What the two halves of the probe take on a quiet core of 3 GHz."""
SPARE = 2.0
BUSY = frozenset({"", "CLIENT_LIMITED"})
"""What a load of real time is told on a machine that gave its cores to something else."""
HELD_UP = BUSY | {"CLUMPED"}
"""And of a server that had none for a while, and then sends several tokens at once."""
PAUSE_S = 0.05


def probe() -> float:
    """Return how many times a quiet machine's time a loop and three processes take here."""
    begin, total = time.perf_counter(), 0
    for number in range(1_000_000):
        total += number * number
    looped = time.perf_counter()
    for _ in range(3):
        subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
    started = time.perf_counter()
    return max(1.0, (looped - begin) / QUIET_LOOP_S, (started - looped) / QUIET_STARTS_S)


def slowness() -> float:
    """Return the session's factor, 1.0 or more, measured once."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = f"{probe():.2f}"
    return max(1.0, float(os.environ[VARIABLE]))


def limit(quiet_s: float) -> float:
    """Return how long to wait here, in seconds, for what may take so long on a quiet machine."""
    return quiet_s * slowness() * SPARE


def against(row: Mapping[str, object]) -> set[str]:
    """Return what makes a run invalid, but for what a busy test machine does to both ends."""
    return set(str(row["verdict_reasons"]).split(";")) - HELD_UP


def until(condition: Callable[[], object], quiet_s: float = 30.0, *, told: object = "") -> None:
    """Wait for something to become true; `told`, or what it returns, says why it has not."""
    deadline = time.monotonic() + limit(quiet_s)
    while not condition():
        assert time.monotonic() < deadline, _late(told)
        time.sleep(PAUSE_S)


async def until_async(
    condition: Callable[[], object], quiet_s: float = 30.0, *, told: object = ""
) -> None:
    """The same on an event loop, which goes on meanwhile."""
    deadline = time.monotonic() + limit(quiet_s)
    while not condition():
        assert time.monotonic() < deadline, _late(told)
        await asyncio.sleep(PAUSE_S)


def _late(told: object) -> str:
    return f"waited too long: {told() if callable(told) else told}"
