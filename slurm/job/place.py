"""Where a task's servers work: scratch on the node, an image, the interface between nodes."""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from catalog.errors import BadValue
from orchestrator.engines.registry import engine_kind
from orchestrator.host.environment import GIVEN
from orchestrator.host.interface import interface_variables
from orchestrator.host.scratch import scratch
from slurm.submit.options import SubmitOptions
from slurm.submit.submission import Submission

SCRATCH_PREFIX = "moeserve-task-"


@contextlib.contextmanager
def server_place(submission: Submission, root: Path, *, nodes: int) -> Iterator[None]:
    """Set up what this task's servers find in their environment, and take it back.

    On one node their caches go to a folder of the task's own on its disk: a home directory is slow,
    and shared. On several each agent makes one, on the disk that TMPDIR names.
    """
    options = submission.options
    if engine_kind(submission.engine).devices == "none":
        yield
        return
    base = _scratch_base(options)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_set(_container(options, root)))
        if nodes == 1:
            stack.enter_context(scratch(base, SCRATCH_PREFIX))
        else:
            between = interface_variables(options.interface, options.ucx_devices)
            stack.enter_context(_set({**between, "TMPDIR": base}))
        yield


def _scratch_base(options: SubmitOptions) -> str:
    base = os.path.expandvars(options.scratch)
    if not Path(base).is_dir():
        raise BadValue("scratch", options.scratch, f"a folder on the node {socket.gethostname()}")
    return base


def _container(options: SubmitOptions, root: Path) -> dict[str, str]:
    box = options.container
    if box is None or box.python is not None:  # then this task runs in it, servers and all
        return {}
    given = box.of_server(root, options.scratch, options.export)
    return {GIVEN: msgspec.json.encode(given).decode()}


@contextlib.contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
