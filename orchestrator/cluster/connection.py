"""Being a driver of a Ray cluster, under a namespace of the study's own."""

import asyncio
import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from signal import SIGINT, SIGTERM
from typing import Any, TypeVar

from catalog.errors import ClusterError
from orchestrator.cluster.access import CONNECT_S, Access
from orchestrator.cluster.nodes import Node, node_from
from orchestrator.cluster.options import split_address

T = TypeVar("T")
ANSWER_S, GOODBYE_S = 5.0, 10.0
HEAD_LOST_S = 8.0
"""How long the head may be silent before its cluster counts as gone."""


@contextlib.contextmanager
def connected(
    access: Access, *, namespace: str, runtime_env: Mapping[str, Any] | None = None
) -> Iterator[None]:
    """Be a driver of the cluster; whoever is one already stays what he is."""
    with variables(access.variables):
        import ray

        if ray.is_initialized():
            yield
            return
        handlers = {number: signal.getsignal(number) for number in (SIGTERM, SIGINT)}
        try:
            ray.init(
                address=access.address,
                namespace=namespace,
                runtime_env=None if runtime_env is None else dict(runtime_env),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            told = " ".join(str(error).split())[:300]
            raise ClusterError(f"RAY_CONNECT: {access.address}: {told}") from error
        # Ray takes SIGTERM for itself, to print where it was; what we do with it is ours to say.
        for number, handler in handlers.items():
            signal.signal(number, handler)
        try:
            yield
        finally:
            within(GOODBYE_S, ray.shutdown)


def within(limit_s: float, call: Callable[[], T]) -> T | None:
    """Call Ray and wait so long at most; None if that was not enough.

    Without its head Ray blocks for a minute, and then ends the whole process.
    """
    answers: queue.SimpleQueue[T | None] = queue.SimpleQueue()

    def ask() -> None:
        answer = None
        with contextlib.suppress(Exception):  # a cluster that is going answers with any error
            answer = call()
        answers.put(answer)

    threading.Thread(target=ask, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        return answers.get(timeout=limit_s)
    return None


@contextlib.contextmanager
def variables(given: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and put back what was there."""
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


async def nodes_now() -> list[Node] | None:
    """Return the nodes that live; None when the head does not say."""
    return await asyncio.to_thread(within, ANSWER_S, living_nodes)


def living_nodes() -> list[Node]:
    """Return the nodes that the cluster holds for alive."""
    import ray

    return [
        node_from(
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


class Head:
    """The head of the cluster, looked at from time to time: Ray itself waits a minute for it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._seen = time.monotonic()

    async def check(self) -> None:
        """ClusterError once the head has not answered for a while."""
        host, port = split_address(self._address)
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(host, port)
        except (TimeoutError, OSError) as error:
            if time.monotonic() - self._seen > HEAD_LOST_S:
                raise ClusterError(
                    f"RAY_HEAD_LOST: the head at {self._address} has gone: {error}; published runs "
                    "are kept, and the same command goes on once there is a cluster again"
                ) from None
            return
        writer.close()
        self._seen = time.monotonic()
