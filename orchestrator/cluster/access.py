"""May we use this cluster? It answers, it wants a token, and it takes ours."""

import asyncio
import contextlib
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import BadFile, ClusterError, MissingExtra
from catalog.python import python_module
from orchestrator.cluster.probe import REFUSED, TIMEOUT_S
from orchestrator.experiment.ray_options import RayOptions, split_address
from orchestrator.host.nodes import Node, parse_node

MIN_RAY = (2, 52)
"""The first Ray that can ask for a token, and whose job server is not open to any web page."""
CONNECT_TIMEOUT_S = 3.0
IMPORT_LIMIT_S = 120.0
"""Importing Ray takes two seconds, and far longer on a busy machine or a slow file system."""
QUIET_ENV = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SCHEDULER_EVENTS": "0"}


@dataclass(frozen=True, slots=True)
class ClusterAccess:
    """A cluster that we may use, and the environment variables that authenticate Ray."""

    address: str
    env: Mapping[str, str]
    nodes: tuple[Node, ...]


class _ProbeOutput(msgspec.Struct):
    ray: str
    nodes: list[dict[str, Any]]


def check_installed() -> None:
    """Refuse to go on without Ray, or with one that has no tokens."""
    try:
        found = version("ray")
    except PackageNotFoundError:
        raise MissingExtra("--launcher ray", "ray") from None
    if tuple(map(int, found.split(".")[:2])) < MIN_RAY:
        raise ClusterError(f"RAY_OLD: Ray {found} is here, 2.52 or later is needed for tokens")


async def check_access(options: RayOptions) -> ClusterAccess:
    """Probe the cluster, once with our token and once with a made-up one."""
    address = options.address
    assert address is not None
    check_installed()
    token = token_env(options)
    await _check_answers(address)
    wrong_token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    with_token, with_wrong_token = await asyncio.gather(
        _run_probe(address, token), _run_probe(address, wrong_token)
    )
    if with_wrong_token.code == 0:
        if not options.allow_unauthenticated:
            raise ClusterError(
                f"RAY_OPEN: the cluster at {address} asks nobody for a token: whoever reaches it "
                "runs code on it. Start it with RAY_AUTH_MODE=token, or use it all the same with "
                "--ray-allow-unauthenticated"
            )
        return ClusterAccess(
            address, {**QUIET_ENV, "RAY_AUTH_MODE": "disabled"}, _nodes(with_wrong_token.output)
        )
    if with_token.code == REFUSED:
        where = options.token_file or "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
        what = "a token is needed: none in" if not token else "it does not take the token of"
        raise ClusterError(f"RAY_TOKEN: the cluster at {address}: {what} {where}")
    if with_token.code != 0:
        raise ClusterError(
            f"RAY_SILENT: {address} does not answer as a Ray head: {with_token.error}"
        )
    return ClusterAccess(address, {**QUIET_ENV, **token}, _nodes(with_token.output))


def token_env(options: RayOptions) -> dict[str, str]:
    """Return the environment variables for Ray's token; empty without one."""
    if options.token_file is not None:
        path = Path(options.token_file).expanduser()
        _check_private(path)
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        if os.environ.get(name):
            return {"RAY_AUTH_MODE": "token", name: os.environ[name]}
    default_path = Path.home() / ".ray" / "auth_token"
    return (
        {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(default_path)}
        if default_path.exists()
        else {}
    )


def _check_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadFile(path, f"no token can be read there: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadFile(path, f"others may read this token: chmod 600 {path}")


async def _check_answers(address: str) -> None:
    host, port = split_address(address)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (TimeoutError, OSError) as error:
        why = (
            f"no answer within {CONNECT_TIMEOUT_S:.0f} s"
            if isinstance(error, TimeoutError)
            else error
        )
        raise ClusterError(f"RAY_HEAD_LOST: no Ray head at {address} ({why})") from None
    writer.close()


@dataclass(frozen=True, slots=True)
class _ProbeResult:
    code: int
    output: bytes
    error: str


async def _run_probe(address: str, token: Mapping[str, str]) -> _ProbeResult:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    process = await asyncio.create_subprocess_exec(
        *(*python_module("orchestrator.cluster.probe", "-W", "ignore"), address),
        env={**inherited, "RAY_AUTH_MODE": "disabled", **token},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(IMPORT_LIMIT_S):
            await process.stdout.readline()
        async with asyncio.timeout(2 * TIMEOUT_S):
            output, error = await process.communicate()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):  # it may just have ended
            process.kill()
        await process.communicate()
        return _ProbeResult(-1, b"", f"no answer within {2 * TIMEOUT_S:.0f} s")
    lines = error.decode(errors="replace").strip().splitlines()
    return _ProbeResult(process.returncode or 0, output, lines[-1] if lines else "it said nothing")


def _nodes(output: bytes) -> tuple[Node, ...]:
    """Decode the probe's output; Ray may have printed before it."""
    printed = msgspec.json.decode(output[output.index(b'{"ray"') :], type=_ProbeOutput)
    return tuple(parse_node(**node) for node in printed.nodes)
