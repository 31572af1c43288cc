"""May we use this cluster? It answers, it is no stranger's open door, and our token is its own."""

import asyncio
import os
import secrets
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from catalog.errors import BadFile, ClusterError, MissingExtra
from orchestrator.cluster.nodes import Node, node_from
from orchestrator.cluster.options import RayOptions, split_address
from orchestrator.cluster.probe import LIMIT_S, REFUSED

LEAST_RAY = (2, 52)
"""The first Ray that can ask for a token, and whose job server is not open to any web page."""
CONNECT_S = 3.0
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SCHEDULER_EVENTS": "0"}


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster that we may use, and the variables with which Ray gets into it."""

    address: str
    variables: Mapping[str, str]
    nodes: tuple[Node, ...]


class _Told(msgspec.Struct):
    ray: str
    nodes: list[dict[str, Any]]


def check_installed() -> None:
    """Refuse to go on without Ray, or with one that has no tokens."""
    try:
        found = version("ray")
    except PackageNotFoundError:
        raise MissingExtra("--launcher ray", "ray") from None
    if tuple(map(int, found.split(".")[:2])) < LEAST_RAY:
        raise ClusterError(f"RAY_OLD: Ray {found} is here, 2.52 or later is needed for tokens")


async def access(options: RayOptions) -> Access:
    """Look at the cluster from outside, once with our token and once with a made-up one."""
    address = options.address
    assert address is not None
    check_installed()
    token = token_variables(options)
    await _check_answers(address)
    made_up = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    ours, anybody = await asyncio.gather(_probe(address, token), _probe(address, made_up))
    if anybody.code == 0:
        if not options.allow_unauthenticated:
            raise ClusterError(
                f"RAY_OPEN: the cluster at {address} asks nobody for a token: whoever reaches it "
                "runs code on it. Start it with RAY_AUTH_MODE=token, or use it all the same with "
                "--ray-allow-unauthenticated"
            )
        return Access(address, {**QUIET, "RAY_AUTH_MODE": "disabled"}, _nodes(anybody.output))
    if ours.code == REFUSED:
        where = options.token_file or "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
        what = "a token is needed: none in" if not token else "it does not take the token of"
        raise ClusterError(f"RAY_TOKEN: the cluster at {address}: {what} {where}")
    if ours.code != 0:
        raise ClusterError(f"RAY_SILENT: {address} does not answer as a Ray head: {ours.error}")
    return Access(address, {**QUIET, **token}, _nodes(ours.output))


def token_variables(options: RayOptions) -> dict[str, str]:
    """Return the variables that hand Ray the token; empty where there is none."""
    if options.token_file is not None:
        path = Path(options.token_file).expanduser()
        _check_private(path)
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        if os.environ.get(name):
            return {"RAY_AUTH_MODE": "token", name: os.environ[name]}
    usual = Path.home() / ".ray" / "auth_token"
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(usual)} if usual.exists() else {}


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
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except (TimeoutError, OSError) as error:
        why = f"no answer within {CONNECT_S:.0f} s" if isinstance(error, TimeoutError) else error
        raise ClusterError(f"RAY_HEAD_LOST: no Ray head at {address} ({why})") from None
    writer.close()


@dataclass(frozen=True, slots=True)
class _Probed:
    code: int
    output: bytes
    error: str


async def _probe(address: str, token: Mapping[str, str]) -> _Probed:
    mine = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "ignore", "-m", "orchestrator.cluster.probe", address),
        env={**mine, "RAY_AUTH_MODE": "disabled", **token},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(2 * LIMIT_S):
            output, error = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return _Probed(-1, b"", f"no answer within {2 * LIMIT_S:.0f} s")
    lines = error.decode(errors="replace").strip().splitlines()
    return _Probed(process.returncode or 0, output, lines[-1] if lines else "it said nothing")


def _nodes(output: bytes) -> tuple[Node, ...]:
    """Read what the probe printed; Ray may have printed before it."""
    told = msgspec.json.decode(output[output.index(b'{"ray"') :], type=_Told)
    return tuple(node_from(**node) for node in told.nodes)
