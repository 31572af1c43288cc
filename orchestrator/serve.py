"""The command of one server that a user wants in the foreground."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import BadValue
from orchestrator.engine import LaunchContext
from orchestrator.engines.kind import ServerCommand
from orchestrator.engines.registry import resolve
from orchestrator.experiment.experiment import Experiment, override
from orchestrator.here import look_here
from orchestrator.plan import make_plan


@dataclass(frozen=True, slots=True)
class Foreground:
    """What to start, and what to tell the user first."""

    command: ServerCommand
    notice: str


def foreground(
    experiment: Experiment,
    *,
    served_name: str | None,
    port: int,
    host: str = "127.0.0.1",
    faults: Sequence[str] = (),
) -> Foreground:
    """Plan a single server as a run would and return its command line.

    The experiment names one model and one strategy. What a server in the foreground alone is told,
    its address and the faults of a simulated one, stands after ours and before the user's own.
    """
    kind, notice = resolve(experiment)
    place = ("--host", host, *(word for fault in faults for word in ("--fault", fault)))
    if not kind.virtual:
        if faults:
            raise BadValue("--fault", ", ".join(faults), "with --engine simulated alone")
        experiment = override(experiment, {"server.args": (*place, *experiment.server.args)})
        place = ()
    if kind.command is None:
        raise BadValue("--engine", kind.name, "one whose server moeserve starts")
    here = look_here(experiment, kind)
    found = here.devices
    plan = make_plan(experiment, kind.name, found=found)
    if len(plan.groups) != 1:
        given = ", ".join(setup.what for setup in plan.setups)
        raise BadValue("serve", given, "one model in one layout with one technique")
    (group,) = plan.groups
    gpus = tuple(device.visible_as for device in found) or None
    model = plan.models[group.setup.model]
    context = LaunchContext(plan.experiment, model, Path(), gpus, args=place)
    kind.prepare(group, context)
    name = served_name or group.setup.model
    told = "\n".join(filter(None, (notice, here.notice)))
    return Foreground(kind.command(group, context, port, name), told)
