"""The agent on a node: the body of a Ray actor, through which a driver reaches a server there.

It has no coroutine: Ray would run all its methods in one event loop. The engine and the load
generator live in a thread with a loop of their own, so that Ray's calls do not stand in the way
of a measurement.
"""

import asyncio
import contextlib
import os
import time
from typing import Any

import msgspec

from orchestrator.cluster.event_stream import EventLog
from orchestrator.cluster.messages import AgentEvent, LaunchRequest, ServerClosed
from orchestrator.cluster.orphan import end_if_abandoned
from orchestrator.experiment.cells import Run
from orchestrator.host.devices import devices
from orchestrator.host.environment import describe
from orchestrator.host.interface import interface_of
from orchestrator.host.ports import port_range


class Agent:
    """One node's part of a server group; every method is idempotent: a call may arrive twice."""

    def __init__(self) -> None:
        # Imported in the worker alone: a driver describes this class, it runs nothing of it.
        from orchestrator.cluster.serving import ServerThread

        self._thread_class = ServerThread
        self._server: ServerThread | None = None
        self._events = EventLog()
        self._last_run = 0
        self._gpus: tuple[str, ...] = ()
        self._stack = contextlib.ExitStack()
        self._port: int | None = None
        self._called_s = time.monotonic()

    def describe(self, client: bool) -> dict[str, Any]:
        """Describe this node and, where one will run, the client's calibration on it."""
        described = describe()
        if client:
            import uvloop

            from workloads.client.calibration import calibrate

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                described["client"] = msgspec.to_builtins(runner.run(calibrate()))
        return described

    def interface(self, address: str) -> dict[str, str | int | None] | None:
        """Return name and speed of the interface by which Ray knows this node."""
        return interface_of(address)

    def node_id(self) -> str:
        """Return Ray's id of the node this runs on."""
        import ray

        node_id: str = ray.get_runtime_context().get_node_id()
        return node_id

    def reserve_port(self) -> int:
        """Hold a port of this node for the rendezvous of a multi-node server."""
        if self._port is None:
            self._port = self._stack.enter_context(port_range()).start
        return self._port

    def open(self, request: LaunchRequest) -> tuple[str, ...]:
        """Start the server and return its GPUs at once; its progress comes as events."""
        if self._server is None:
            end_if_abandoned(lambda: time.monotonic() - self._called_s, self.node_id())
            self._gpus = granted_gpus() if request.use_gpus else ()
            if request.ray_executor:
                prepare_ray_executor()
            self._server = self._thread_class(request, self._gpus, self._events)
        return self._gpus

    def events(self, acknowledged: int) -> list[AgentEvent]:
        """Return the events after the first `acknowledged`; a driver asks all the time."""
        self._called_s = time.monotonic()
        return self._events.fetch(acknowledged)

    def measure(self, run: Run, number: int) -> None:
        """Load the server with a run; `number` counts the driver's runs."""
        if self._server is not None and number > self._last_run:
            self._last_run, self._called_s = number, time.monotonic()
            self._server.measure(run)

    def stop(self) -> None:
        """Stop the run in flight, or a start, early."""
        if self._server is not None:
            self._server.stop()

    def close(self) -> None:
        """Stop the server; `ServerClosed` is the last event."""
        if self._server is None:
            self._events.append(ServerClosed())
        else:
            self._server.close()


def granted_gpus() -> tuple[str, ...]:
    """Return the GPUs that Ray assigned to this worker, as a list of visible devices has them."""
    found = devices()
    if found:
        return tuple(device.visible_as for device in found)
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return tuple(sorted((word for word in listed if word), key=lambda word: (len(word), word)))


def prepare_ray_executor() -> None:
    """Set the environment for vLLM's Ray executor: the cluster's address, all GPUs visible."""
    import ray

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
