"""A Ray cluster inside a job's allocation: one blocking `ray start` a node, in its own step."""

import asyncio
import contextlib
import ipaddress
import math
import os
import re
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from catalog.errors import ClusterError
from catalog.python import SAFE_PATH, python_module
from orchestrator.cluster.access import QUIET_ENV, ClusterAccess, check_access, check_installed
from orchestrator.cluster.head import LOOPBACK
from orchestrator.experiment.ray_options import RayOptions
from orchestrator.host.interface import address_of
from orchestrator.host.ports import port_range
from orchestrator.host.process import ServerProcess
from orchestrator.measure.failures import diagnose
from slurm.scheduler.nodes import parse_nodes
from workloads.transcript import clean_error

JOIN_S = 180.0
POLL_S = 2.0
GRACE_S = 8.0
SWEEP_S = 5.0
STORE_BYTES = 200_000_000
LOOPBACK_ADDRESS = "127.0.0.1"
ERRORS = re.compile(
    r"^\w*(?:Error|Exception)\b|\b(?:error|fatal|failed to|cannot|could not)\b", re.IGNORECASE
)
NO_REASON = re.compile(
    # Where Ray keeps its logs, what it prints when it is up, and Slurm's echo of an end.
    r"logs? (?:will be|are) saved|ray stop|^-+$|Ray runtime started|^srun: (?:forcing|Job step)"
    r"|^srun: error: \S+ task \S+ (?:Exited|Killed|Terminated)|\*\*\* STEP \S+ ON"
)


@contextlib.asynccontextmanager
async def ray_on_allocation(
    environment: Mapping[str, str], folder: Path, *, gpus: int, interface: str | None = None
) -> AsyncIterator[ClusterAccess]:
    """Start Ray on every node of this job, with `gpus` on each; it ends with the block.

    `folder` is on a file system that all nodes see; the token lies there, for this user alone.
    The head listens on the address of `interface`, and the others come to it over theirs.
    """
    check_installed()
    hosts = parse_nodes(environment["SLURM_JOB_NODELIST"])
    cpus = cpus_of_a_node(environment)
    token = _private_token(folder)
    alone = len(hosts) == 1  # a node by itself need not listen to any other
    listening = LOOPBACK if alone else {}
    head_host = LOOPBACK_ADDRESS if alone else _head_address(hosts, interface)
    variables = {
        **QUIET_ENV,
        **listening,
        **SAFE_PATH,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
    }
    steps: list[ServerProcess] = []
    temporary, held = _temporary(), contextlib.ExitStack()
    try:
        ports = held.enter_context(port_range())
        address = f"{head_host}:{ports.start}"
        await asyncio.gather(*(_make(host, temporary) for host in hosts))
        for host in hosts:
            head = host == hosts[0]
            ray = _ray(address, temporary, gpus=gpus, cpus=cpus, head=head)
            command = [*_step(host, cpus), *ray]
            log = folder / f"{host}.log"
            steps.append(ServerProcess(command, log=log, env=variables, grace_s=GRACE_S))
            if head:
                await _until_listening(address, steps[0])
        options = RayOptions(address=address, token_file=str(token))
        access = await _joined(options, len(hosts), steps)
        yield replace(access, env={**access.env, **listening})
    finally:
        await asyncio.gather(*(step.stop() for step in reversed(steps)))
        token.unlink(missing_ok=True)
        await asyncio.gather(*(_sweep(host, temporary) for host in hosts))
        held.close()


async def _make(host: str, temporary: str) -> None:
    """Make Ray's folder on a node's disk, if not another step of ours has: nodes may share it."""
    command = [*_step(host), "mkdir", "-p", "-m", "700", temporary]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    if process.returncode:
        words = clean_error(said.decode(errors="replace"))
        raise ClusterError(f"RAY_START: {host}: cannot make {temporary}: {words}")


async def _sweep(host: str, temporary: str) -> None:
    """Remove what Ray has left on a node's disk, if the node still answers."""
    command = [*_step(host), "rm", "-rf", temporary]
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(SWEEP_S):
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            await process.wait()


def _private_token(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    token = folder / "token"
    with os.fdopen(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return token


def _step(host: str, cpus: int = 1) -> list[str]:
    """Begin a step on a node with so many CPUs: srun itself takes one, whatever the job has."""
    return ["srun", "--overlap", "--nodes=1", "--ntasks=1", f"--cpus-per-task={cpus}", "--mem=0",
            f"--nodelist={host}", "--export=ALL"]  # fmt: skip


def cpus_of_a_node(environment: Mapping[str, str]) -> int:
    """Return the CPUs that the job has on each of its nodes: the fewest of `8(x2),4`."""
    listed = environment.get("SLURM_JOB_CPUS_PER_NODE", "1").split(",")
    counts = [each.partition("(")[0] for each in listed]
    return min((int(each) for each in counts if each.isdecimal()), default=1)


def _ray(address: str, temporary: str, *, gpus: int, cpus: int, head: bool) -> list[str]:
    host, _, port = address.rpartition(":")
    part = (
        ["--head", f"--node-ip-address={host}", f"--port={port}", "--include-dashboard=false",
         f"--ray-client-server-port={int(port) + 1}", "--no-monitor"]
        if head
        else [f"--address={address}"]
    )  # fmt: skip
    return [
        *(*python_module("ray.scripts.scripts", "-W", "ignore"), "start", "--block", *part),
        # A count of Ray's own, one an agent: there is room for a group a GPU, whatever the CPUs.
        *(f"--num-gpus={gpus}", f"--num-cpus={max(cpus, gpus + 1)}"),
        *(f"--temp-dir={temporary}", "--disable-usage-stats"),
        *("--min-worker-port=0", "--max-worker-port=0", f"--object-store-memory={STORE_BYTES}"),
    ]


def _temporary() -> str:
    """Name Ray's folder on a node's own disk: short, since its sockets lie in it."""
    return f"/tmp/moeserve-{secrets.token_hex(8)}"  # noqa: S108 (nobody can make it before us)


def _head_address(hosts: Sequence[str], interface: str | None) -> str:
    return address_of(interface) if interface else address_of_head(hosts)


def address_of_head(hosts: Sequence[str]) -> str:
    """Return the address at which the other nodes reach this one, the first; else ClusterError.

    A node's own name may stand for 127.0.1.1 on it (Debian's /etc/hosts): nobody else gets there.
    """
    found = [address for name in (hosts[0], socket.gethostname()) if (address := _resolved(name))]
    outside = [address for address in found if not ipaddress.ip_address(address).is_loopback]
    outside += [address for host in hosts[1:] if (address := _towards(host))]
    if outside:
        return outside[0]
    raise ClusterError(
        f"RAY_START: {hosts[0]} calls itself {found[0] if found else 'nothing'}, and has no "
        f"address that leads to {', '.join(hosts[1:]) or 'another node'}: /etc/hosts or the "
        "name service must give the nodes addresses that they reach each other at"
    )


def _resolved(host: str) -> str:
    try:
        return socket.gethostbyname(host)
    except OSError:
        return ""


def _towards(host: str) -> str:
    """Return this host's address on the way to another; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((host, 9))
        address: str = probe.getsockname()[0]
        return "" if ipaddress.ip_address(address).is_loopback else address
    return ""


async def _until_listening(address: str, head: ServerProcess) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + JOIN_S
    while True:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            _check_lives(head, deadline)
            await asyncio.sleep(POLL_S / 2)
            continue
        writer.close()
        return


async def _joined(options: RayOptions, count: int, steps: list[ServerProcess]) -> ClusterAccess:
    """Wait until every node has joined."""
    deadline = time.monotonic() + JOIN_S
    while len((access := await check_access(options)).nodes) < count:
        for step in steps:
            _check_lives(step, math.inf)
        if time.monotonic() > deadline:
            others = "; ".join(f"{s.log.stem}: {own_words(s.whole_log())}" for s in steps[1:])
            joined = f"{len(access.nodes)} of {count} nodes joined within {JOIN_S:.0f} s"
            raise ClusterError(f"RAY_START: {joined}; {others}")
        await asyncio.sleep(POLL_S)
    return access


def _check_lives(step: ServerProcess, deadline: float) -> None:
    if step.exit_code is not None or time.monotonic() > deadline:
        raise ClusterError(f"RAY_START: not up on {step.log.stem}: {own_words(step.whole_log())}")


def own_words(log: str) -> str:
    """Return the line with which a part says why it failed, else the last of its own.

    What Ray and Slurm print last is no reason.
    """
    if (found := diagnose(log)) is not None and found.code != "START_FAILED":
        return f"{found.code}: {found.advice}"
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    others = [line for line in lines if not NO_REASON.search(line)]
    telling = [line for line in others if ERRORS.search(line)]
    return clean_error((telling or others or lines or ["it says nothing"])[-1])
