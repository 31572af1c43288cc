"""The agent on a node: the body of a Ray actor, through which a driver reaches a server there.

It has no coroutine: Ray would run all its methods in one event loop. The engine and the load
generator live in a thread with a loop of their own, so that Ray's calls do not stand in the way
of a measurement.
"""

import asyncio
import contextlib
import os
from typing import Any

import msgspec

from orchestrator.cells import Run
from orchestrator.cluster.news import News
from orchestrator.cluster.wire import Closed, Job, Told
from orchestrator.devices import devices
from orchestrator.environment import describe
from orchestrator.ports import port_range


class Agent:
    """One node's part of a server group; every method is a call that may arrive twice."""

    def __init__(self) -> None:
        # Imported in the worker alone: a driver describes this class, it runs nothing of it.
        from orchestrator.cluster.serving import Serving

        self._start = Serving
        self._serving: Serving | None = None
        self._news = News()
        self._ordered = 0
        self._gpus: tuple[str, ...] = ()
        self._held = contextlib.ExitStack()
        self._port: int | None = None

    def look(self, client: bool) -> dict[str, Any]:
        """Describe this node and, where one will be used, what the client is capable of on it."""
        described = describe()
        if client:
            import uvloop

            from workloads.calibration import calibrate

            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                described["client"] = msgspec.to_builtins(runner.run(calibrate()))
        return described

    def where(self) -> str:
        """Return Ray's id of the node this runs on."""
        import ray

        node_id: str = ray.get_runtime_context().get_node_id()
        return node_id

    def meet(self) -> int:
        """Hold a port of this node, where the parts of a server find each other."""
        if self._port is None:
            self._port = self._held.enter_context(port_range()).start
        return self._port

    def open(self, job: Job) -> tuple[str, ...]:
        """Start the server and return its GPUs at once; `told` says how it goes."""
        if self._serving is None:
            self._gpus = granted_gpus() if job.use_gpus else ()
            if job.ray_executor:
                lend_ray()
            self._serving = self._start(job, self._gpus, self._news)
        return self._gpus

    def told(self, heard: int) -> list[Told]:
        """Return the news after the first `heard`."""
        return self._news.after(heard)

    def measure(self, run: Run, number: int) -> None:
        """Load the server with a run; `number` counts the driver's orders."""
        if self._serving is not None and number > self._ordered:
            self._ordered = number
            self._serving.measure(run)

    def halt(self) -> None:
        """Let the run in flight, or a start, end early."""
        if self._serving is not None:
            self._serving.halt()

    def close(self) -> None:
        """Take the server down; `told` says when it is."""
        if self._serving is None:
            self._news.tell(Closed())
        else:
            self._serving.close()


def granted_gpus() -> tuple[str, ...]:
    """Return the GPUs that Ray gave this worker: NVML's numbers, where there is NVML."""
    found = devices()
    if found:
        return tuple(str(device.index) for device in found)
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return tuple(sorted((word for word in listed if word), key=lambda word: (len(word), word)))


def lend_ray() -> None:
    """Let a server that this process starts find the cluster, and the GPUs it will be granted."""
    import ray

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
