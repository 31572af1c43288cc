"""The seam to Slurm: what moeserve asks of it, and its real commands."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from catalog.errors import ClusterError
from slurm.parse import (
    ACCOUNT_FIELDS,
    QUEUE_FORMAT,
    Seen,
    parse_accounts,
    parse_config,
    parse_duration,
    parse_queue,
    parse_submitted,
)

COMMAND_LIMIT_S = 60.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
SILENCE = ("Unable to contact slurm controller", "Socket timed out", "Connection refused",
           "Zero Bytes were transmitted", "Connection timed out", "Resource temporarily",
           "Unable to establish controller", "Connection reset", "temporarily unable")  # fmt: skip


class NoAnswer(ClusterError):
    """Slurm did not say yes or no: what was asked may have been done."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How this Slurm is set up, as far as submitting depends on it."""

    cluster: str
    version: str
    max_array_size: int
    max_job_count: int
    kill_wait_s: float
    accounting: bool


class Slurm(Protocol):
    """A cluster: Slurm's commands, or the twin in memory."""

    async def limits(self) -> Limits: ...

    async def submit(self, arguments: Sequence[str]) -> int:
        """Submit with these arguments of sbatch; NoAnswer if nobody knows whether it happened."""
        ...

    async def queue(self, names: Sequence[str] = ()) -> list[Seen]:
        """Every task in the queue of jobs with these names, or of this user; ended ones too."""
        ...

    async def accounts(self, names: Sequence[str], since: str, /) -> list[Seen] | None:
        """The last record of every task of these jobs; None where nothing keeps accounts."""
        ...

    async def cancel(self, jobs: Sequence[str]) -> None: ...


class SlurmCommands:
    """sbatch, squeue, sacct, scancel and scontrol of this host."""

    def __init__(self, *, limit_s: float = COMMAND_LIMIT_S) -> None:
        if shutil.which("sbatch") is None:
            raise ClusterError("no Slurm here: sbatch is not on PATH; run this on a login node")
        self._limit_s = limit_s

    async def limits(self) -> Limits:
        found = parse_config(await self._ask("scontrol", "show", "config"))
        wait = found.get("KillWait", "30 sec").split()[0]
        return Limits(
            cluster=found.get("ClusterName", ""),
            version=found.get("SLURM_VERSION", ""),
            max_array_size=int(found.get("MaxArraySize", "1001")),
            max_job_count=int(found.get("MaxJobCount", "10000")),
            kill_wait_s=float(wait) if wait.isdigit() else 30.0,
            accounting="slurmdbd" in found.get("AccountingStorageType", ""),
        )

    async def submit(self, arguments: Sequence[str]) -> int:
        told = await _run(("sbatch", "--parsable", *arguments), self._limit_s)
        job = parse_submitted(told)
        if job is None:
            raise NoAnswer(f"sbatch gave no job id: {told.strip()!r}")
        return job

    async def queue(self, names: Sequence[str] = ()) -> list[Seen]:
        whose = f"--name={','.join(names)}" if names else "--me"
        states = ("--states=all",) if names else ()
        told = await self._ask("squeue", "-h", "-r", whose, *states, "-o", QUEUE_FORMAT)
        return parse_queue(told)

    async def accounts(self, names: Sequence[str], since: str, /) -> list[Seen] | None:
        asked = (f"--name={','.join(names)}", f"--starttime={since}", f"--format={ACCOUNT_FIELDS}")
        try:
            told = await self._ask("sacct", "-n", "-P", "-X", "-D", *asked)
        except NoAnswer:
            raise
        except ClusterError as error:
            if "disabled" in str(error):
                return None
            raise
        return parse_accounts(told)

    async def cancel(self, jobs: Sequence[str]) -> None:
        if jobs:
            await self._ask("scancel", *jobs)

    async def _ask(self, *command: str) -> str:
        """Run a command that changes nothing twice; ask again while Slurm does not answer."""
        pause_s = FIRST_PAUSE_S
        for _ in range(3):
            try:
                return await _run(command, self._limit_s)
            except NoAnswer:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return await _run(command, self._limit_s)


async def _run(command: Sequence[str], limit_s: float) -> str:
    # Slurm's variables could change formats behind our back, and inside of a job pass its own on.
    hidden, kept = ("SLURM_", "SQUEUE_", "SACCT_", "SCANCEL_"), ("SLURM_CONF", "SLURM_CLUSTERS")
    environment = {n: v for n, v in os.environ.items() if n in kept or not n.startswith(hidden)}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**environment, "SLURM_TIME_FORMAT": "standard"},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), limit_s)
    except TimeoutError:
        raise NoAnswer(f"{command[0]} did not answer in {limit_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        _refuse(command[0], err.decode(errors="replace").strip())
    return out.decode(errors="replace")


def _refuse(program: str, told: str) -> None:
    text = " ".join(told.split())[-600:]
    if any(words in text for words in SILENCE):
        raise NoAnswer(f"{program}: {text}")
    raise ClusterError(f"{program}: {text or 'failed without a word'}")


def check_duration(what: str, text: str) -> str:
    """Return a time limit in Slurm's notation, or refuse it."""
    from catalog.errors import BadValue

    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if seconds == 0.0:
        raise BadValue(what, text, "minutes, H:MM:SS or D-HH:MM:SS")
    return text
