"""The seam to Slurm: what moeserve asks of it, and its real commands."""

import asyncio
import contextlib
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from catalog.errors import BadValue, ClusterError
from slurm.scheduler.parse import (
    ACCOUNT_FIELDS,
    QUEUE_FORMAT,
    JobInfo,
    UnreadableAnswer,
    parse_accounting,
    parse_config,
    parse_duration,
    parse_queue,
    parse_submitted,
)

COMMAND_LIMIT_S = 60.0
MAX_ARRAY_TASKS = re.compile(r"\bmax_array_tasks=([1-9]\d{0,8})")
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
NO_ACCOUNTS, TOO_WIDE = "accounting storage is disabled", "Too wide of a date range"
LEAST_WINDOW = timedelta(hours=12)
SILENCE = ("Unable to contact slurm controller", "Socket timed out", "Connection refused",
           "Communication connection failure", "Message send failure", "Message receive failure",
           "Communication shutdown failure", "standby mode",
           "Zero Bytes were transmitted", "Connection timed out", "Resource temporarily",
           "Unable to establish controller", "Connection reset", "temporarily unable")  # fmt: skip
OWN_REQUESTS = frozenset(
    f"SBATCH_{name}"
    for name in ("ARRAY_INX", "CLUSTERS", "CPUS_PER_GPU", "ERROR", "GET_USER_ENV", "GPUS",
                 "GPUS_PER_NODE", "GPUS_PER_SOCKET", "GPUS_PER_TASK", "GRES", "INPUT", "SIGNAL",
                 "TRES_PER_TASK", "WAIT")
)  # fmt: skip
"""Variables that sbatch takes for options which moeserve sets itself, or leaves out on purpose."""
WAY_IN = frozenset(("SLURM_CLUSTERS", "SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"))
"""Variables that say where Slurm is, and as whom it is asked where a site goes by tokens."""
T = TypeVar("T")


class SlurmUnreachable(ClusterError):
    """No reply from Slurm, or none that can be read: the command may have been carried out."""


@dataclass(frozen=True, slots=True)
class SlurmConfig:
    """The part of Slurm's configuration that submitting depends on."""

    cluster: str
    version: str
    max_array_size: int
    """Most tasks of an array."""
    max_job_count: int
    kill_wait_s: float
    accounting: bool


DEFAULTS = SlurmConfig(
    cluster="",
    version="",
    max_array_size=1001,
    max_job_count=10_000,
    kill_wait_s=30.0,
    accounting=False,
)
"""What slurm.conf(5) has where a site says nothing: to plan with, where no Slurm is asked."""


class Slurm(Protocol):
    """A cluster: Slurm's commands, or the twin in memory.

    An empty answer means that there is nothing; whoever cannot tell raises a ClusterError.
    """

    async def config(self) -> SlurmConfig: ...

    async def submit(self, arguments: Sequence[str]) -> int:
        """Submit with these arguments of sbatch; SlurmUnreachable: it may have worked."""
        ...

    async def queue(self, names: Sequence[str] = ()) -> list[JobInfo]:
        """Every task in the queue of jobs with these names, or of this user; ended ones too."""
        ...

    async def accounting(self, names: Sequence[str], since: str, /) -> list[JobInfo] | None:
        """The last record of every task of these jobs; None without accounting."""
        ...

    async def cancel(self, jobs: Sequence[str]) -> None: ...


class SlurmCommands:
    """sbatch, squeue, sacct, scancel and scontrol of this host."""

    def __init__(self, *, limit_s: float = COMMAND_LIMIT_S) -> None:
        if shutil.which("sbatch") is None:
            raise ClusterError("no Slurm here: sbatch is not on PATH; run this on a login node")
        self._limit_s = limit_s

    async def config(self) -> SlurmConfig:
        found = parse_config(await self._ask("scontrol", "show", "config"))
        return SlurmConfig(
            cluster=_told(found, "ClusterName"),
            version=_told(found, "SLURM_VERSION"),
            max_array_size=_longest_array(found),
            max_job_count=_number(found, "MaxJobCount"),
            kill_wait_s=float(_number(found, "KillWait")),
            accounting="slurmdbd" in _told(found, "AccountingStorageType"),
        )

    async def submit(self, arguments: Sequence[str]) -> int:
        output = await _run(("sbatch", "--parsable", *arguments), self._limit_s)
        job = parse_submitted(output)
        if job is None:
            raise SlurmUnreachable(f"sbatch gave no job id: {output.strip()!r}")
        return job

    async def queue(self, names: Sequence[str] = ()) -> list[JobInfo]:
        whose = f"--name={','.join(names)}" if names else "--me"
        states = ("--states=all",) if names else ()
        # Unless it is asked for all, the jobs of a hidden partition are not listed to their owner.
        output = await self._ask("squeue", "-h", "-r", "-a", whose, *states, "-o", QUEUE_FORMAT)
        return _read("squeue", parse_queue, output)

    async def accounting(self, names: Sequence[str], since: str, /) -> list[JobInfo] | None:
        """Ask sacct; where a site bounds the time that may be asked for, for as much as it takes.

        What began before has ended since, or is in the queue.
        """
        while True:
            try:
                return await self._accounts_since(names, since)
            except ClusterError as error:
                shorter = _half_as_long(since)
                if TOO_WIDE not in str(error) or shorter is None:
                    raise
                since = shorter

    async def _accounts_since(self, names: Sequence[str], since: str) -> list[JobInfo] | None:
        options = (
            f"--name={','.join(names)}",
            f"--starttime={since}",
            f"--format={ACCOUNT_FIELDS}",
            # Of these commands it alone takes no notice of the variable.
            *(f"--clusters={name}" for name in (os.environ.get("SLURM_CLUSTERS"),) if name),
        )
        try:
            output = await self._ask("sacct", "-n", "-P", "-X", "-D", "-a", *options)
        except SlurmUnreachable:
            raise
        except ClusterError as error:
            if NO_ACCOUNTS in str(error):
                return None
            raise
        return _read("sacct", parse_accounting, output)

    async def cancel(self, jobs: Sequence[str]) -> None:
        if jobs:
            await self._ask("scancel", *jobs)

    async def _ask(self, *command: str) -> str:
        """Run a command that changes nothing twice; ask again while Slurm does not answer."""
        pause_s = FIRST_PAUSE_S
        for _ in range(3):
            try:
                return await _run(command, self._limit_s)
            except SlurmUnreachable:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return await _run(command, self._limit_s)


def _half_as_long(since: str) -> str | None:
    """Return the middle between then and now; None where no site's bound can be as short."""
    now = datetime.now()  # noqa: DTZ005 (sacct reads times as this host's)
    window = (now - datetime.fromisoformat(since)) / 2
    return None if window < LEAST_WINDOW else (now - window).isoformat(timespec="seconds")


def left_out(environment: Mapping[str, str]) -> list[str]:
    """Return the variables that would change what moeserve asks of sbatch."""
    return sorted(OWN_REQUESTS & environment.keys())


async def _run(command: Sequence[str], limit_s: float) -> str:
    # Slurm's variables could change formats behind our back, and inside of a job pass its own on.
    hidden, dropped = ("SLURM_", "SQUEUE_", "SACCT_", "SCANCEL_"), left_out(os.environ)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in WAY_IN or not (name in dropped or name.startswith(hidden))
    }
    # The indices of an array are cut after 64 characters unless it is asked for all of them.
    fixed = {"SLURM_TIME_FORMAT": "standard", "SLURM_BITSTR_LEN": "0"}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A submission's lock stays held while an sbatch that outlives it may still be heard.
            close_fds=False,
            env={**environment, **fixed},
        )
    except OSError as error:
        raise ClusterError(f"{command[0]} cannot be started: {error.strerror}") from error
    try:
        out, err = await asyncio.wait_for(process.communicate(), limit_s)
    except TimeoutError:
        raise SlurmUnreachable(f"{command[0]} did not answer in {limit_s:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    said = " ".join(err.decode(errors="replace").split())[-600:].removeprefix(f"{command[0]}: ")
    if process.returncode:
        _raise_error(command[0], said, process.returncode)
    if not out.strip() and _silent(said):  # an exit status of 0 makes no answer of it
        raise SlurmUnreachable(f"{command[0]}: {said}")
    return out.decode(errors="replace")


def _silent(text: str) -> bool:
    return any(words in text for words in SILENCE)


def _raise_error(program: str, text: str, code: int) -> None:
    # Who says nothing has not refused either: a signal may have come after the request went out.
    if code < 0 or not text or _silent(text):
        raise SlurmUnreachable(f"{program}: {text or f'failed without a word ({code})'}")
    raise ClusterError(f"{program}: {text}")


def _read(program: str, parse: Callable[[str], T], output: str) -> T:
    try:
        return parse(output)
    except UnreadableAnswer as error:
        raise SlurmUnreachable(f"{program}: a line that cannot be read: {str(error)!r}") from error


def _told(found: Mapping[str, str], key: str) -> str:
    """Return what scontrol says of a key; a missing answer is no default."""
    if key not in found:
        raise SlurmUnreachable(f"scontrol show config: says nothing of {key}")
    return found[key]


def _number(found: Mapping[str, str], key: str) -> int:
    text = _told(found, key).split()[:1]
    if not text or not text[0].isdecimal():
        raise SlurmUnreachable(f"scontrol show config: {key} is {found[key]!r}, not a number")
    return int(text[0])


def _longest_array(found: Mapping[str, str]) -> int:
    """Return how many tasks an array may have: its indices are bounded, and at some sites both."""
    size = _number(found, "MaxArraySize")
    if size < 1:
        raise ClusterError(
            "this cluster takes no job arrays (MaxArraySize=0), and every study is one here; "
            "within a job of your own, `moeserve run` measures it on that job's node"
        )
    tasks = MAX_ARRAY_TASKS.search(found.get("SchedulerParameters", ""))
    return min(size, int(tasks[1])) if tasks else size


def check_duration(what: str, text: str) -> str:
    """Return a time limit in Slurm's notation, or refuse it."""
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0.0
    if seconds == 0.0:
        raise BadValue(what, text, "minutes, H:MM:SS or D-HH:MM:SS")
    return text
