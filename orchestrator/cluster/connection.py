"""Being a driver of a Ray cluster, under a namespace of the study's own."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from catalog.errors import ClusterError
from orchestrator.cluster.access import CONNECT_S, Access
from orchestrator.cluster.nodes import Node, node_from
from orchestrator.cluster.options import split_address

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
        try:
            yield
        finally:
            ray.shutdown()


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
