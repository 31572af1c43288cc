"""The driver's connection to a Ray cluster, under a namespace of the study's own."""

import asyncio
import atexit
import contextlib
import logging
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from signal import SIGINT, SIGTERM
from typing import Any, TypeVar

from catalog.errors import ClusterError
from orchestrator.cluster.access import CONNECT_TIMEOUT_S, ClusterAccess
from orchestrator.experiment.ray_options import split_address
from orchestrator.host.nodes import Node, parse_node

T = TypeVar("T")
RAY_TIMEOUT_S, SHUTDOWN_TIMEOUT_S = 5.0, 10.0
HEAD_LOST_S = 8.0
"""How long nobody may listen at the head's address before its cluster counts as gone."""
HEAD_SILENT_S, ASK_EVERY_S = 20.0, 3.0
"""How long a head that listens may leave questions unanswered: one that is frozen still listens."""


@contextlib.contextmanager
def connected(
    access: ClusterAccess, *, namespace: str, runtime_env: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Connect this process as a driver; one that is connected already stays so."""
    with set_env(access.env):
        import ray

        if ray.is_initialized():
            yield
            return
        _check_seen(access.address)
        handlers = {number: signal.getsignal(number) for number in (SIGTERM, SIGINT)}
        try:
            ray.init(
                address=access.address,
                namespace=namespace,
                runtime_env=None if runtime_env is None else dict(runtime_env),
                job_config=_job_config(),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            message = " ".join(str(error).split())[:300]
            raise ClusterError(f"RAY_CONNECT: {access.address}: {message}") from error
        # Ray takes SIGTERM for itself, to print where it was; what we do with it is ours to say.
        for number, handler in handlers.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            _shut_down()


def _shut_down() -> None:
    """Leave the cluster; where its head does not let us, leave without a word at the end.

    Ray would try again when Python ends, and wait for the attempt that is stuck for ever, or crash.
    """
    import ray

    def shut_down() -> bool:
        ray.shutdown()
        return True

    if call_with_timeout(SHUTDOWN_TIMEOUT_S, shut_down) is None:
        atexit.register(_leave_abruptly)


def _leave_abruptly() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(ClusterError.exit_code)


def _check_seen(address: str) -> None:
    """Refuse a head on loopback that Ray would look for elsewhere, and without an end.

    Ray takes 127.0.0.1 for this host's address in its network, where such a head does not listen.
    """
    import ray

    host, port = split_address(address)
    if host not in ("localhost", "127.0.0.1", "::1"):
        return
    seen = ray.util.get_node_ip_address()
    try:
        socket.create_connection((seen, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ClusterError(
            f"RAY_CONNECT: {address}: Ray takes this host for {seen}, where its head does not "
            f"listen ({error}): give the head another --node-ip-address, or set "
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 for it and for moeserve"
        ) from None


def _job_config() -> Any:
    """Keep this process's working directory out of the workers' modules.

    Ray puts it first there, so that a folder `catalog/` in it would be taken for ours; only a job
    that brings a working directory of its own is spared.
    """
    from ray.job_config import JobConfig

    config = JobConfig()
    config._runtime_env_has_working_dir = lambda: True
    return config


def call_with_timeout(limit_s: float, call: Callable[[], T]) -> T | None:
    """Call Ray; None if it has not returned within the limit.

    Without its head Ray blocks for a minute, and then ends the whole process.
    """
    results: queue.SimpleQueue[T | None] = queue.SimpleQueue()

    def run() -> None:
        result = None
        with contextlib.suppress(Exception):  # a cluster that is going answers with any error
            result = call()
        results.put(result)

    threading.Thread(target=run, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        return results.get(timeout=limit_s)
    return None


@contextlib.contextmanager
def set_env(given: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and restore them at the end."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


async def current_nodes() -> list[Node] | None:
    """Return the nodes that are alive; None when the head does not answer."""
    return await asyncio.to_thread(call_with_timeout, RAY_TIMEOUT_S, alive_nodes)


def alive_nodes() -> list[Node]:
    """Return the nodes that Ray reports as alive."""
    import ray

    return [
        parse_node(
            each["NodeID"],
            each.get("NodeName", ""),
            each["NodeManagerAddress"],
            each["Resources"],
            each.get("Labels", {}),
            port=each["NodeManagerPort"],
        )
        for each in ray.nodes()
        if each["Alive"]
    ]


class HeadMonitor:
    """Checks from time to time that the head answers: Ray itself waits a minute for it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._listened_s = self._answered_s = time.monotonic()

    async def check(self) -> None:
        """ClusterError once the head has gone, or has not answered for a while."""
        await self._check_listens()
        await self._check_answers()

    async def _check_listens(self) -> None:
        host, port = split_address(self._address)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, writer = await asyncio.open_connection(host, port)
        except (TimeoutError, OSError) as error:
            if time.monotonic() - self._listened_s > HEAD_LOST_S:
                raise self._lost(f"has gone: {error}") from None
            return
        writer.close()
        self._listened_s = time.monotonic()

    async def _check_answers(self) -> None:
        if time.monotonic() - self._answered_s < ASK_EVERY_S:
            return
        if await current_nodes() is not None:
            self._answered_s = time.monotonic()
        elif time.monotonic() - self._answered_s > HEAD_SILENT_S:
            raise self._lost(f"listens, and has answered nothing for {HEAD_SILENT_S:.0f} s")

    def _lost(self, how: str) -> ClusterError:
        return ClusterError(
            f"RAY_HEAD_LOST: the head at {self._address} {how}; published runs are kept, and the "
            "same command goes on once there is a cluster again"
        )
